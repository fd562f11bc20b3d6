"""The page as a file: whole, closed to the network, and never anything but text from what it shows."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

from xnas_ray.report.page import packed, page_script, plotly_script, reading_script, report_page, style


class Parts(HTMLParser):
    """Tags with their attributes, and the texts of scripts: a script ends where its end tag first stands."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts = re.findall(r"<script[^>]*>(.*?)</script", page, re.DOTALL | re.IGNORECASE)
        self.feed(re.sub(r"(<script[^>]*>).*?(</script)", r"\1\2", page, flags=re.DOTALL | re.IGNORECASE))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


def test_whatever_it_shows_the_page_is_the_same():
    calm, wild = (Parts(report_page(packed({"searches": [text]}), text)) for text in ("calm", EVIL))
    assert [tag for tag, _ in calm.tags] == [tag for tag, _ in wild.tags]
    assert len(wild.scripts) == 3 and wild.scripts[1:] == calm.scripts[1:] == [plotly_script(), page_script()]
    data = wild.scripts[0]
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", data)
    assert json.loads(gzip.decompress(base64.b64decode(data))) == {"searches": [EVIL]}


def test_the_policy_admits_its_own_scripts_and_nothing_else():
    parts = Parts(report_page(packed({}), "title"))
    [policy] = [a["content"] for tag, a in parts.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and "connect-src" not in rules, "what is not named may do nothing"
    assert rules["img-src"] == "data: blob:" and rules["base-uri"] == rules["form-action"] == "'none'"
    for script in parts.scripts[1:]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in rules["script-src"]
    assert "unsafe-inline" not in rules["script-src"] and "http" not in policy
    assert not any("src" in attributes or "href" in attributes for _, attributes in parts.tags)


def test_the_same_report_gives_the_same_bytes():
    payload = {"a": [1, 2.5, None, "ü"]}
    assert packed(payload) == packed(payload) and report_page(packed(payload), "t") == report_page(packed(payload), "t")


def test_scripts_never_make_html_of_text():
    own = page_script()
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https:"):
        assert name not in own
    assert own.count("http:") == 1, "the namespace of SVG"
    assert "</script" not in own.lower() and "</style" not in style().lower() and "@import" not in style()
    assert "</script" not in plotly_script().lower() and "<!--" not in own


def test_the_pages_of_a_service_have_no_other_ways():
    live = reading_script("live.js", "live_report.js")
    assert live.count("fetch(") == 1 and "localStorage" not in live and "cookie" not in live
    assert "fetch(" not in page_script() and "sessionStorage" not in page_script()
