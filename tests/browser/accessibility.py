"""What axe finds wrong with a page for people who do not see or point."""

from pathlib import Path

from playwright.sync_api import Page

AXE = (Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js").read_text()


def serious_faults(page: Page) -> list[tuple[str, str]]:
    """List the serious faults of the page that is open, each with its first element."""
    page.evaluate(AXE)
    violations = page.evaluate("axe.run().then(result => result.violations)")
    return [
        (one["id"], one["nodes"][0]["html"][:120])
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
