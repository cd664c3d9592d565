"""A record whose texts try to be live on a page, and a reader of HTML that tells what is."""

from html.parser import HTMLParser

MARK = "hostile"
HTML = f'<script>window.{MARK}=1</script><img src=x onerror="window.{MARK}=1">'
LINK = f"[{MARK}](https://{MARK}.example) <https://{MARK}.example> ![{MARK}](https://{MARK}.example/x.png)"
MYST = f"{{raw}}`{HTML}` {{doc}}`{MARK}` $\\{MARK}$ {{{{ {MARK} }}}} | *x* `y` ```"
BLOCK = f":::{{raw}} html {HTML}"
FORMULA = f'=HYPERLINK("https://{MARK}.example")'
TEXTS = {
    "html": f"{HTML} {LINK}",
    "myst": f"{MYST} {LINK}",
    "block": BLOCK,
    "formula": f"{FORMULA} {HTML}",
}


def fields(text: str) -> dict:
    """Every field of a record that holds free text, for `write_run`."""
    return {
        "data": {
            "name": text, "fingerprint": "f" * 64, "train_images": 400, "val_images": 100,
            "classes": 10,
        },
        "command": f"dreal train {text}",
        "hardware": {"device": "cpu", "device_name": text, "cpu_name": f"{text}!", "cpu_count": 2},
    }  # fmt: skip


class Live(HTMLParser):
    """What of a page would run, be fetched or be followed, with the mark in it."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        started = {name: value or "" for name, value in attributes}
        for name, value in started.items():
            if MARK in value and (name in ("href", "src", "action") or name.startswith("on")):
                self.found.append(f"<{tag} {name}={value!r}>")
        self._script = tag == "script"

    def handle_data(self, data: str) -> None:
        if getattr(self, "_script", False) and MARK in data:
            self.found.append(f"<script>{data}")
        self.text += data
