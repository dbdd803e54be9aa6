"""One tenant attacks for a minute with all it may do, and what another tenant of the same installation notices.

`make attacks` prints it, once with both tenants' models in processes of their own, the default, and once without:
a whole installation as `manage.py up` starts it, and a neighbour that asks from another process.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api, ApiRefused
from driftline.demo.wire import ConnectionLost, HttpConnection
from tests.attacks import models
from tests.attacks.crowd import Asked, ask_one, crowd
from tests.flows.installation.running import MANAGE, Installation, make_model
from tests.ports import free_port
from tests.waiting import wait_until

ATTACKS: dict[str, tuple[Callable[[], bytes], int]] = {
    "boxes": (models.boxes_model, 120_000),
    "sequence": (models.sequence_model, 80_000_000),
    "range": (models.range_model, 2_000_000_000),
    "strings": (models.strings_model, 5_000_000),
    "answer": (models.large_answer_model, 100_000_000),
}
QUIET_SECONDS = 15.0
PREFIX = 11  # of a token, by which it is found
PAUSE_SECONDS = 0.02  # between two requests of the neighbour


@dataclass
class Tenant:
    """A project with a token for all it may do."""

    installation: Installation
    slug: str
    token: str

    def api(self) -> Api:
        return Api("127.0.0.1", self.installation.port, self.token)

    def infer(self, connection: HttpConnection, model: str, body: bytes) -> int:
        """Ask once; return the status, 0 where no answer came."""
        try:
            connection.write(
                f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {self.token}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            answer = connection.read_answer()
        except ConnectionLost:
            connection.close()
            return 0
        if answer.closes:
            connection.close()
        return answer.status


def make_tenant(installation: Installation, slug: str, isolation: str) -> Tenant:
    """Create a project and a token with all scopes."""
    program = (
        "from driftline.base.accounts.models import Project\n"
        f"Project.objects.create(name={slug!r}, slug={slug!r}, isolation={isolation!r})"
    )
    created = installation.manage("shell", "-c", program)
    assert created.returncode == 0, created.stderr
    return Tenant(installation, slug, make_token(installation, slug))


def make_token(installation: Installation, slug: str) -> str:
    """Create a token with all scopes."""
    scopes = "infer,log,label,backfill,read,write,deploy,admin"
    made = installation.manage("token", "create", "--project", slug, "--name", "storm", "--scopes", scopes)
    assert made.returncode == 0, made.stderr
    return made.stdout.split()[-1]


@dataclass
class Seen:
    """What the neighbour noticed; times in seconds."""

    inference: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)
    event_to_metric: list[float] = field(default_factory=list)
    refused: int = 0  # of looks at a metric and logged events, which were asked again
    revocation: float = -1.0
    after_revocation: Counter[int] = field(default_factory=Counter)


class Neighbour:
    """Asks its model all the time, looks at health, logs an event now and then, and has a token revoked."""

    def __init__(self, tenant: Tenant, seconds: float) -> None:
        self.seen = Seen()
        self._tenant = tenant
        self._ends_at = time.monotonic() + seconds
        works = (self._infer, self._look_at_health, self._log_events)
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def wait(self) -> Seen:
        for thread in self._threads:
            thread.join()
        return self.seen

    def _goes_on(self) -> bool:
        return time.monotonic() < self._ends_at

    def _infer(self) -> None:
        body = body_of({f"f{place}": 0.5 for place in range(4)})
        connection = HttpConnection("127.0.0.1", self._tenant.installation.port)
        while self._goes_on():
            began = time.monotonic()
            self.seen.statuses[self._tenant.infer(connection, "neighbour", body)] += 1
            self.seen.inference.append(time.monotonic() - began)
            time.sleep(PAUSE_SECONDS)  # the pace of the load; nothing waits for it
        connection.close()

    def _look_at_health(self) -> None:
        while self._goes_on():
            self.seen.health.append(ask_one(self._tenant.installation.port, Asked("/healthz")).seconds)
            time.sleep(0.5)  # the pace of the load; nothing waits for it

    def _log_events(self) -> None:
        """Log a row and wait until the count of its hour holds it."""
        with closing(self._tenant.api()) as api:
            while self._goes_on():
                before, began = self._count(api), time.monotonic()
                event = row(f"event-{began}")
                self._until_answered(
                    lambda event=event: api.post(
                        "/api/v1/models/logged/predictions", {"predictions": [event]}
                    )
                )
                while self._count(api) <= before and time.monotonic() - began < 60:
                    time.sleep(0.1)  # the pace of looking
                self.seen.event_to_metric.append(time.monotonic() - began)

    def _count(self, api: Api) -> float:
        path = "/api/v1/models/logged/metrics?metric=count&from=-1d&step=day"
        points = self._until_answered(lambda: api.get(path))["items"]
        return float(sum(point["value"] or 0 for point in points))

    def _until_answered[Answer](self, ask: Callable[[], Answer]) -> Answer:
        """Ask again while the answer is to come again later, as clients do."""
        while True:
            try:
                return ask()
            except (ApiRefused, ConnectionLost, OSError):
                self.seen.refused += 1
                time.sleep(0.2)  # the pace of asking again

    def revoke_a_token(self) -> None:
        """Have a second token revoked, and measure for how long it is still good after that was committed."""
        second = Tenant(
            self._tenant.installation,
            self._tenant.slug,
            make_token(self._tenant.installation, self._tenant.slug),
        )
        connection = HttpConnection("127.0.0.1", second.installation.port)
        body = body_of({f"f{place}": 0.5 for place in range(4)})
        wait_until(lambda: second.infer(connection, "neighbour", body) == 200)
        program = (
            "import time\n"
            "from driftline.base.accounts.models import ApiToken\n"
            "from driftline.base.accounts.services import revoke_token\n"
            f"[token] = ApiToken.objects.filter(prefix={second.token[:PREFIX]!r})\n"
            "from driftline.base.clock import now\n"
            "revoke_token(token=token, actor='storm', now=now())\n"
            "print(time.time())"
        )
        revoking = subprocess.Popen(
            [sys.executable, str(MANAGE), "shell", "-c", program],
            env=self._tenant.installation.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        answers = [(second.infer(connection, "neighbour", body), time.time())]
        while answers[-1][0] != 401 and not revoking.poll():
            answers.append((second.infer(connection, "neighbour", body), time.time()))
        revoked_at = float(revoking.communicate()[0].split()[-1])
        self.seen.revocation = answers[-1][1] - revoked_at
        self.seen.after_revocation.update(status for status, at in answers if revoked_at < at)
        connection.close()


def body_of(values: dict[str, float]) -> bytes:
    tensors = [
        {"name": name, "shape": [1, 1], "datatype": "FP32", "data": [value]} for name, value in values.items()
    ]
    return json.dumps({"inputs": tensors}).encode()


def row(key: str, **features: Any) -> dict[str, Any]:
    return {
        "id": key,
        "timestamp": rfc3339(datetime.now(UTC)),
        "version": "ours",
        "features": features or {"income": 1.5},
        "prediction": "1",
    }


class Attacker:
    """Does all at once, again and again."""

    def __init__(self, tenant: Tenant, seconds: float) -> None:
        self.answers: Counter[str] = Counter()
        self._tenant = tenant
        self._ends_at = time.monotonic() + seconds
        works = [*(self._bomb(name) for name in ATTACKS), self._log_wrong_types, self._flood, self._guess]
        self._threads = [threading.Thread(target=self._repeat, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(timeout=90)

    def _repeat(self, work: Callable[[], None]) -> None:
        while time.monotonic() < self._ends_at:
            with suppress(ApiRefused, ConnectionLost, OSError, TimeoutError):
                work()
            time.sleep(0.5)  # the pace of the attack; nothing waits for it

    def _bomb(self, name: str) -> Callable[[], None]:
        number = ATTACKS[name][1]
        tensor = {"name": "X", "shape": [1, 1], "datatype": "INT64", "data": [number]}
        body = json.dumps({"inputs": [tensor]}).encode()

        def ask() -> None:
            connection = HttpConnection("127.0.0.1", self._tenant.installation.port)
            self.answers[f"{name} {self._tenant.infer(connection, name, body)}"] += 1
            connection.close()

        return ask

    def _log_wrong_types(self) -> None:
        with closing(self._tenant.api()) as api:
            values: Sequence[Any] = (1.5, "", "notanumber", True, "text")
            rows = [row(f"{time.monotonic()}-{place}", income=value) for place, value in enumerate(values)]
            api.post("/api/v1/models/types/predictions", {"predictions": rows})
        self.answers["wrong types logged"] += len(rows)

    def _flood(self) -> None:
        paths = ["/readyz"] * 160 + ["/accounts/login/"] * 100
        answered = asyncio.run(crowd(self._tenant.installation.port, [Asked(path) for path in paths]))
        self.answers.update(f"flood {one.status}" for one in answered)

    def _guess(self) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        asked = Asked("/accounts/login/", "POST", headers, b"login=admin%40example.com&password=wrong")
        self.answers[f"guess {ask_one(self._tenant.installation.port, asked).status}"] += 1


def prepare(attacker: Tenant, neighbour: Tenant) -> None:
    """Upload the models of both, and a reference for one whose importance never ends."""
    with closing(attacker.api()) as api:
        for name, (build, _) in ATTACKS.items():
            api.post("/api/v1/models", {"name": name, "task": "regression"})
            metadata = {"features": [{"name": "X", "type": "int"}], "outputs": {"prediction": "Y"}}
            api.upload(f"/api/v1/models/{name}/versions", build(), metadata=json.dumps(metadata).encode())
        api.post("/api/v1/models", {"name": "types", "task": "binary"})
    with closing(neighbour.api()) as api:
        api.post("/api/v1/models", {"name": "logged", "task": "binary"})
        api.post("/api/v1/models/logged/predictions", {"predictions": [row("first")]})
    make_model(neighbour, "neighbour")


def poison_reference(attacker: Tenant) -> None:
    """Give the boxes a reference on whose rows their importance takes for ever."""
    lines = ["X,label", *(f"200000,{place % 7}" for place in range(1_200))]
    boundary = b"storm"
    body = (
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="reference.csv"\r\n\r\n%b\r\n--%b--\r\n'
        % (boundary, "\n".join(lines).encode(), boundary)
    )
    headers = {
        "Authorization": f"Bearer {attacker.token}",
        "Content-Type": "multipart/form-data; boundary=storm",
    }
    asked = Asked("/api/v1/models/boxes/reference?version=1", "PUT", headers, body)
    answered = ask_one(attacker.installation.port, asked)
    print(f"  the poison reference was answered {answered.status}")


def quantiles(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    return (
        f"p50 {statistics.median(ordered) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, longest {ordered[-1]:.2f} s"
    )


def report(title: str, seen: Seen) -> None:
    print(f"  {title}:")
    print(f"    inference: {quantiles(seen.inference)}; answers {dict(sorted(seen.statuses.items()))}")
    print(f"    /healthz: longest {max(seen.health):.2f} s")
    if seen.event_to_metric:
        print(
            f"    event to metric: longest {max(seen.event_to_metric):.1f} s of {len(seen.event_to_metric)}"
            f", {seen.refused} requests refused and asked again"
        )
    if seen.revocation >= 0:
        answers = dict(sorted(seen.after_revocation.items()))
        print(f"    a revoked token was refused after {seen.revocation:.2f} s; until then {answers}")


@contextmanager
def running_installation() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        installation = Installation(Path(folder) / "home", free_port())
        installation.start()
        try:
            yield installation
        finally:
            installation.end()


def storm(isolation: str, seconds: float) -> None:
    """Run the attack against an installation whose two tenants have this isolation, and print what was seen."""
    print(f"isolation: {isolation}")
    with running_installation() as installation:
        attacker = make_tenant(installation, "attacker", isolation)
        neighbour = make_tenant(installation, "neighbour", isolation)
        prepare(attacker, neighbour)
        report("quiet", Neighbour(neighbour, QUIET_SECONDS).wait())
        watching = Neighbour(neighbour, seconds)
        attack = Attacker(attacker, seconds)
        poison_reference(attacker)
        watching.revoke_a_token()
        seen = watching.wait()
        attack.wait()
        report(f"under attack for {seconds:.0f} s", seen)
        print(f"  the attacker was answered: {dict(sorted(attack.answers.items()))}")
        quarantine = installation.home / "quarantine.json"
        if quarantine.exists():
            blamed = json.loads(quarantine.read_text()).values()
            print(f"  blamed: {sorted((len(one['at']), one['reason']) for one in blamed)}")
        doctor = installation.manage("doctor")
        print("  doctor says: " + "; ".join(line for line in doctor.stdout.splitlines() if "failed" in line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--isolation", nargs="*", default=["process", "none"])
    arguments = parser.parse_args()
    for isolation in arguments.isolation:
        storm(isolation, arguments.seconds)


if __name__ == "__main__":
    main()
