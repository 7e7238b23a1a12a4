"""Many images in one go: found, denoised one after the other, remembered, so that a second run does what is left."""

from meddenoise.batch.engine import Engine, PlainEngine
from meddenoise.batch.items import Item, Remote, find_items
from meddenoise.batch.run import Progress, Summary, run_batch
from meddenoise.batch.work import BatchOptions, Outcome, work

__all__ = [
    "BatchOptions",
    "Engine",
    "Item",
    "Outcome",
    "PlainEngine",
    "Progress",
    "Remote",
    "Summary",
    "find_items",
    "run_batch",
    "work",
]
