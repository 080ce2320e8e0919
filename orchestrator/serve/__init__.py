"""Shows a results folder in a browser, from the files alone, and writes nothing."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(__name__, {"server": ("serve_results",)})
