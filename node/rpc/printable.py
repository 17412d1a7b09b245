"""Text of strangers as people may see it: references, arguments and names can hold anything."""


def printable(text: str) -> str:
    r"""Return text with line ends, escape sequences and marks that reverse its direction shown as `\n`, `\x1b`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
