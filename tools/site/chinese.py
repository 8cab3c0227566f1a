"""Lines of Chinese text: a browser shows the end of a line as a space, which Chinese does not have between characters."""

from __future__ import annotations

import re

_CHARACTER = r"\u4e00-\u9fff"
_MARK = r"\u2018-\u201d\u3001-\u3011\uff01-\uff5e"  # full-width punctuation
# After a character comes another one, or a mark; after a mark, anything but what begins a list, a table or a heading.
_BREAK = re.compile(rf"(?<=[{_CHARACTER}])\n *(?=[{_CHARACTER}{_MARK}])|(?<=[{_MARK}])\n *(?=[^\s\d|#>*+-])")


def joined(text: str) -> str:
    """Text between blocks of code, with lines put together where no space belongs.

    >>> joined("第一行，\\n第二行 with\\nEnglish。\\n- 列表")
    '第一行，第二行 with\\nEnglish。\\n- 列表'
    """
    return _BREAK.sub("", text)
