"""How the report looks: one column, light or dark as the reader's system says, wide tables scroll inside themselves."""

from __future__ import annotations

CSS = """
:root { --paper: #ffffff; --ink: #1d2126; --soft: #5b6470; --line: #dfe3e8; --shade: #f5f6f8; --link: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --ink: #e4e7eb; --soft: #9aa4b0; --line: #333a43; --shade: #1d2228; --link: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
header, main { max-width: 62rem; margin: 0 auto; padding: 1rem; }
header { border-bottom: 1px solid var(--line); }
header h1 { margin: 0.2rem 0 0; } header p { margin: 0 0 0.6rem; color: var(--soft); }
nav a { margin-right: 1rem; } a { color: var(--link); }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { margin: 2rem 0 0.3rem; }
.note { padding: 0.7rem 1rem; background: var(--shade); border-left: 3px solid var(--link); }
article p, figcaption { color: var(--soft); font-size: 0.9rem; }
figure { margin: 0.6rem 0; }
img { max-width: 100%; height: auto; padding: 0.5rem; background: #ffffff; border-radius: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td:nth-child(2) { white-space: normal; } #runs td:nth-child(2), #runs td:nth-child(5) { white-space: normal; min-width: 22rem; }
table, .wide td, .wide th { border-left: 0; border-right: 0; border-top: 0; } .anchor-link { display: none; } thead th { border-bottom: 2px solid var(--soft); }
details { margin: 0.4rem 0; } summary { cursor: pointer; color: var(--soft); font-size: 0.9rem; }
details.notebook { margin: 0.8rem 0; padding: 0.3rem 1rem; border: 1px solid var(--line); border-radius: 4px; }
details.notebook > summary { color: var(--ink); font-size: 1rem; }
pre, .highlight { padding: 0.6rem; background: var(--shade); overflow-x: auto; font-size: 0.8rem; border-radius: 4px; }
.highlight pre { padding: 0; margin: 0; }
dl { font-size: 0.8rem; } dt { color: var(--soft); } dd { margin: 0 0 0.4rem; }
@media (max-width: 40rem) { body { font-size: 15px; } header, main { padding: 0.7rem; } }
"""


def code_css() -> str:
    """Colours of code, for both settings."""
    from pygments.formatters import HtmlFormatter

    def colours(style: str) -> str:
        rules = HtmlFormatter(style=style, nobackground=True).get_style_defs(".highlight").splitlines()
        return "\n".join(rule for rule in rules if rule.startswith(".highlight ."))

    return f"{colours('default')}\n@media (prefers-color-scheme: dark) {{ {colours('github-dark')} }}"
