"""MONAI Label around the denoisers: `serve` starts it, `asgi` is what it serves, `demo` shows it.

Whatever has identity (loaded models, exception classes) lives here and not in the app's ``lib``, because MONAI Label
deletes every ``lib`` module each time it loads the app.
"""
