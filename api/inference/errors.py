"""What is wrong with something that was sent to a model."""


class InputError(Exception):
    """An input that cannot be read: the HTTP status it deserves and what RFC 9457 and api.md want to know of it.

    `status` is 413 (too much), 415 (content type not supported) or 422; `pointer` is a JSON pointer into the body,
    empty when the body is meant as a whole; `received` is a short, JSON-able account of what was there instead.
    """

    def __init__(self, status: int, code: str, detail: str, pointer: str = "", received: object = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.received = received

    def at(self, pointer: str) -> "InputError":
        """The same error, found at `pointer`."""
        return InputError(self.status, self.code, self.detail, pointer, self.received)
