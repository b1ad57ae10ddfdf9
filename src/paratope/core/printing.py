"""Text of files and users on its way to a terminal."""

import unicodedata


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Text that cannot move a terminal's cursor or turn its letters round.

    Control characters and marks of direction, but for those to `keep`, stand as they are written.

    >>> printable("id \x1b[2J, café\n")
    'id \\x1b[2J, café\n'
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter in keep or letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )
