"""A window that shows frames as they come, with Python's own Tk."""


class WindowError(RuntimeError):
    """No window can be opened; the message says why."""


class Window:
    """Shows pictures; a context that closes the window at its end.

    Raises WindowError on making it where Tk is missing or there is no screen.
    """

    def __init__(self, title):
        try:
            import tkinter
        except ImportError as error:
            raise WindowError(f"no window: Python's tkinter is not installed ({error})") from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise WindowError(f"no window: {error}") from error
        self._gone = tkinter.TclError
        self._root.title(f"{title} (Escape or q ends it)")
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._open = True
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda event: self._close())
        self._root.protocol("WM_DELETE_WINDOW", self._close)

    def __enter__(self):
        return self

    def show(self, pixels):
        """pixels: (H, W, 3) uint8 RGB.  Returns False once the user has closed the window."""
        from PIL import Image, ImageTk

        if self._open:
            try:
                self._picture = ImageTk.PhotoImage(
                    Image.fromarray(pixels)
                )  # Tk keeps no reference of its own
                self._label.configure(image=self._picture)
                self._root.update()
            except self._gone:
                self._open = False
        return self._open

    def __exit__(self, kind, error, trace):
        if self._open:
            self._close()

    def _close(self):
        self._open = False
        self._root.destroy()
