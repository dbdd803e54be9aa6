"""A hub that answers as Hugging Face does, with a store beside it to which it redirects, and plain files."""

from dataclasses import dataclass, field

from tests.loopback import LoopbackHandler

COMMIT = "5f3c" * 10
TOKEN = "hf_s3cret-token"


@dataclass
class Site:
    """Files by path; those of repositories need `TOKEN`, and lie in the store of `store_url`."""

    store_url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    commit: str | None = COMMIT
    cuts: int = 0
    """Downloads that the store does not survive."""
    status: int = 0
    """What is answered instead of files, where it is not 0."""

    def handler(self) -> type[LoopbackHandler]:
        site = self

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                site.seen.append((self.path, self.headers.get("Authorization")))
                path = self.path.partition("?")[0]
                if site.status:
                    self.answer(site.status, f"not for {self.headers.get('Authorization')}".encode())
                elif "/resolve/" in path:
                    self.answer_hub(path)
                elif path in site.files:
                    self.answer(200, site.files[path])
                else:
                    self.answer(404, b"Entry not found")

            def answer_hub(self, path: str) -> None:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self.answer(401, b"Access to this repository is restricted.")
                    return
                headers = {"Location": f"{site.store_url}/blobs/1?X-Amz-Signature=abcdefghij"}
                self.answer(302, b"", headers | ({"X-Repo-Commit": site.commit} if site.commit else {}))

            def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                is_cut = status == 200 and site.cuts > 0
                site.cuts -= is_cut
                self.wfile.write(content[: len(content) // 2] if is_cut else content)
                if is_cut:
                    self.close_connection = True

        return Handler
