"""The routing table: who may ask which version. Made whole from a plan and swapped by one reference."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from driftline.base.accounts.access.allowed_networks import AllowedNetworks
from driftline.base.accounts.access.scopes import Scope
from driftline.base.http.networks import Network
from driftline.base.http.rate_budget import TokenBudget, budget_of, quota_of
from inference.prediction_log.spool.record import Role
from inference.protocol.dialect import Dialect, InferRequest, Target
from inference.protocol.matching import list_names
from inference.protocol.v2.parameters import check_event_times
from inference.protocol.v2.tensors import InvalidRequest
from inference.serving.callers import InferenceCaller
from inference.serving.plan import (
    INFER_MODEL,
    Plan,
    PlanCallback,
    PlanCanary,
    PlanModel,
    PlanToken,
    PlanVersion,
)
from inference.serving.refusals import Refusal, overloaded, too_many
from inference.serving.versions.versions import LoadedVersion

MAX_CACHED_ADMISSIONS = 10_000
_NO_CERTIFICATE = Refusal(
    403,
    "This server asks clients of inference for a TLS certificate, and the connection has none; present one.",
)


class Route:
    """One version of one model's deployment, in one role, with the shadows that get a copy."""

    def __init__(
        self,
        model: PlanModel,
        version: LoadedVersion,
        role: Role,
        shadows: Sequence[LoadedVersion],
        canary: "Canary | None" = None,
    ) -> None:
        self.model = model
        self.version = version
        self.role: Role = role
        self.shadows = shadows
        self.canary = canary
        self.labels = (model.id, version.plan.version, role)  # of its counts
        self.fields = version_fields(version.plan.version, model.generation)
        self.fields_by_log_state = {
            state: b"%bdriftline-log: %b\r\ndriftline-prediction-id: " % (self.fields, state)
            for state in (b"spooled", b"dropped")
        }

    def answering(self, request: InferRequest, prediction_id: str) -> "Route":
        """Return the route that answers this request: the canary's for its share."""
        if self.canary is not None and self.canary.answers(request, prediction_id):
            return self.canary.route
        return self


class Canary:
    """The share of a champion's requests that another version answers.

    A key stays on its side while the weight stays, and once on the canary's side also while the weight grows:
    a key is the canary's where its hash, a number from 0 to 1, lies below the weight.
    """

    def __init__(self, plan: PlanCanary, route: Route) -> None:
        self.route = route
        self._key = _key_reader(plan.key)
        self._limit = int(plan.weight * 2**64)
        self._salt = b"%d" % route.version.plan.id

    def answers(self, request: InferRequest, prediction_id: str) -> bool:
        """Return whether this request is the canary's; one without the chosen key is its own."""
        key = self._key(request) or prediction_id
        digest = hashlib.blake2b(key.encode(), digest_size=8, salt=self._salt).digest()
        return int.from_bytes(digest) < self._limit


def _key_reader(key: str) -> Callable[[InferRequest], str | None]:
    """Return the function that reads the chosen key of a request: see PlanCanary."""
    if key == "client_id":
        return lambda request: request.client_id
    if key.startswith("tag:"):
        name = key.removeprefix("tag:")
        return lambda request: request.facts.tags.get(name) if request.facts.tags else None
    return lambda request: request.facts.subject


FULL_SECONDS = 60.0
"""After which who asks a model of a full project may ask again."""


class Admission:
    """A caller's right to one route, found once and then remembered with the table."""

    def __init__(
        self,
        route: Route,
        *,
        may_backfill: bool,
        expires_at: float | None = None,
        budget: TokenBudget | None = None,
        allowed: AllowedNetworks | None = None,
        token: str = "",
        tags: dict[str, str] | None = None,
    ) -> None:
        self.route = route
        self.may_backfill = may_backfill
        self.expires_at = expires_at
        self.budget = budget
        self.allowed = allowed
        self.token = token  # its digest
        self.tags = tags  # of every request of a token for one model; None for others


def project_id_of(admission: Admission | Refusal | None) -> int:
    """Return the project that a request counts against; 0 while it is not known."""
    return admission.route.model.project_id if isinstance(admission, Admission) else 0


def reason_over_budget(admission: Admission) -> Refusal | None:
    """Take a request from the budget of its token, or refuse it."""
    budget = admission.budget
    if budget is None or (wait := budget.take_request()) <= 0:
        return None
    return too_many(f"{budget.sentence}; ask again later.", admission.route.fields, wait)


def check_times(admission: Admission, request: InferRequest) -> Refusal | None:
    """Refuse event times that the caller may not send."""
    if request.facts.event_times_us is None:
        return None
    try:
        check_event_times(request.facts, time.time_ns() // 1000, may_backfill=admission.may_backfill)
    except InvalidRequest as error:
        return Refusal(error.status, str(error), admission.route.fields)
    return None


def speak_for_itself(admission: Admission, request: InferRequest) -> Refusal | None:
    """Log a request of a token for one model under that token's own name; refuse ids and times of its caller's."""
    facts = request.facts
    if facts.key is not None or facts.event_times_us is not None:
        sentence = (
            "The token of a device may send neither driftline_id nor driftline_timestamp; leave them out."
        )
        return Refusal(403, sentence, admission.route.fields)
    request.facts = replace(facts, tags=(facts.tags or {}) | (admission.tags or {}))
    return None


class NotLoaded(Exception):
    """The version is in the plan but not in memory; load it and ask again."""

    def __init__(self, model: PlanModel, version: PlanVersion) -> None:
        super().__init__(version.version)
        self.model = model
        self.version = version


class RoutingTable:
    """A plan with its versions in memory. Read-only after it is made, but for its cache."""

    def __init__(
        self,
        plan: Plan,
        loaded: Mapping[int, LoadedVersion],
        failed: Mapping[int, str],
        previous: "RoutingTable | None" = None,
        *,
        preparing: Collection[int] = (),
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        """Make the table; a model whose champion could not be loaded stays as `previous` had it.

        Where that process answered nothing yet, or its champion crashes it, the champion of before answers.
        `trusted_proxies` are believed where callers come from.

        `loaded` and `failed` are by version id; `failed` holds the reasons. Those `preparing` may not answer yet.
        """
        self.plan = plan
        self.generation = plan.generation
        self.loaded = loaded
        self.failed = failed
        self._preparing = preparing
        self.stale_models: dict[int, str] = {}  # model id -> why it was not brought to this plan
        self._tokens = {digest: token for one in plan.tokens for digest, token in _by_secrets(one)}
        self._allowed = {
            token.digest: AllowedNetworks.of(token.prefix, token.networks)
            for token in plan.tokens
            if token.networks
        }
        self._trusted_proxies = trusted_proxies
        self._models: dict[tuple[int, str], PlanModel] = {}
        self._champions: dict[int, Route] = {}
        self._direct: dict[int, Route] = {}
        self._pinned: dict[int, Route] = {}  # model id -> its champion without the canary
        self._admissions: dict[tuple[bytes, bytes], Admission] = {}
        for model in plan.models:
            self._add(model, previous)

    def _add(self, model: PlanModel, previous: "RoutingTable | None") -> None:
        self._models[model.project_id, model.name] = model
        champion = model.find(model.champion) if model.champion is not None else None
        if champion is None:
            return
        version = self.loaded.get(champion.id)
        if version is not None and self._may_answer(champion.id):
            self._champions[model.id] = Route(
                model, version, "champion", self._shadows_of(model), self._canary_of(model)
            )
            return
        self.stale_models[model.id] = self.failed.get(champion.id, "The version is not loaded yet.")
        answered = previous.champion(model.id) if previous is not None else None
        if answered is not None and answered.version.plan.id in self.loaded:  # else it is quarantined
            self._champions[model.id] = answered
        elif (before := self._champion_before(model)) is not None:
            self._champions[model.id] = Route(model, before, "champion", [])

    def _may_answer(self, version_id: int) -> bool:
        return version_id not in self.failed and version_id not in self._preparing

    def _champion_before(self, model: PlanModel) -> LoadedVersion | None:
        """Return the champion before the present one, which stays in memory for a while."""
        before = model.find(model.previous) if model.previous is not None else None
        return None if before is None else self.loaded.get(before.id)

    def _shadows_of(self, model: PlanModel) -> list[LoadedVersion]:
        versions = [model.find(name) for name in model.shadows if name != model.champion]
        return [
            self.loaded[version.id]
            for version in versions
            if version is not None and version.id in self.loaded
        ]

    def _canary_of(self, model: PlanModel) -> Canary | None:
        """Return the canary; without one that is fit to answer the champion answers all."""
        version = model.find(model.canary.version) if model.canary is not None else None
        if model.canary is None or version is None:
            return None
        loaded = self.loaded.get(version.id)
        if loaded is None or not self._may_answer(version.id):
            reason = self.failed.get(version.id, "The version is not loaded yet.")
            self.stale_models[model.id] = f"The canary does not answer: {reason}"
            return None
        return Canary(model.canary, Route(model, loaded, "canary", []))

    def champion(self, model_id: int) -> Route | None:
        """Return the route that answers for a model."""
        return self._champions.get(model_id)

    def champions(self) -> list[Route]:
        """List the routes that answer for their models."""
        return list(self._champions.values())

    def admit(self, dialect: Dialect[Any, Any], caller: InferenceCaller, path: bytes) -> Admission | Refusal:
        """Find the route of an inference request for a bearer token, or the reason to refuse it.

        Raises NotLoaded for a version that has to be loaded first.
        """
        if caller.lacks_certificate:
            return _NO_CERTIFICATE
        admission = self._admissions.get((caller.authorization, path))
        if admission is not None and (admission.expires_at is None or admission.expires_at > time.time()):
            if admission.allowed is None:
                return admission
            return self._refuse_elsewhere(admission.allowed, caller) or admission
        token = self._find_token(caller, Scope.INFER, INFER_MODEL)
        if isinstance(token, Refusal):
            return token
        target = dialect.parse_path(path)
        if target is None:
            return Refusal(404, f"There is nothing at this path; post to {dialect.usage}.")
        if _is_for_one_model(token) and not self._is_of_model(token, target):
            return Refusal(403, f"The token of {token.prefix} is for its own model alone.")
        route = self.find_route(token.project_id, target)
        if isinstance(route, Refusal):
            return route
        if (reason := self.plan.full_projects.get(token.project_id)) is not None:
            return too_many(reason, route.fields, FULL_SECONDS)
        admission = Admission(
            route,
            may_backfill=Scope.BACKFILL in token.scopes,
            expires_at=token.expires_at,
            budget=self._budget_of(token),
            allowed=self._allowed.get(token.digest),
            token=token.digest,
            tags=token.tags if _is_for_one_model(token) else None,
        )
        if len(self._admissions) < MAX_CACHED_ADMISSIONS:
            self._admissions[caller.authorization, path] = admission
        return admission

    def _is_of_model(self, token: PlanToken, target: Target) -> bool:
        model = self.find_target(token.project_id, target)
        return isinstance(model, PlanModel) and model.id == token.model_id

    def _budget_of(self, token: PlanToken) -> TokenBudget | None:
        """Return what the token may still send, with the quota of its project."""
        quota = quota_of(token.project_id, self.plan.row_quotas.get(token.project_id, 0))
        return budget_of(token.digest, token.requests_per_second, token.rows_per_second, quota=quota)

    def authenticate(self, caller: InferenceCaller, *scopes: Scope) -> PlanToken | Refusal:
        """Find the bearer's token, or refuse; one of the scopes is enough, unless the token is for one model alone."""
        token = self._find_token(caller, *scopes, INFER_MODEL)
        if isinstance(token, PlanToken) and _is_for_one_model(token):
            return Refusal(
                403, f"The token of {token.prefix} asks its model for predictions, and nothing else."
            )
        return token

    def _find_token(self, caller: InferenceCaller, *scopes: str) -> PlanToken | Refusal:
        if caller.lacks_certificate:
            return _NO_CERTIFICATE
        scheme, _, secret = caller.authorization.partition(b" ")
        digest = hashlib.sha256(secret.strip()).hexdigest()
        token = self._tokens.get(digest) if scheme.lower() == b"bearer" else None
        if token is None or (token.expires_at is not None and token.expires_at <= time.time()):
            return Refusal(
                401,
                "The token is missing, unknown or expired; send 'Authorization: Bearer dl_...'.",
                b'www-authenticate: Bearer error="invalid_token"\r\n',
            )
        if (refusal := self._refuse_elsewhere(self._allowed.get(token.digest), caller)) is not None:
            return refusal
        if set(token.scopes).isdisjoint(scopes):
            return Refusal(
                403, f"The token {token.prefix} lacks the scope '{scopes[0]}'; use one that has it."
            )
        return token

    def _refuse_elsewhere(self, allowed: AllowedNetworks | None, caller: InferenceCaller) -> Refusal | None:
        """Refuse a token that is used from where it may not be."""
        if allowed is None or (reason := allowed.refuse(caller.address(self._trusted_proxies))) is None:
            return None
        return Refusal(403, reason)

    def callbacks_of(self, project_id: int) -> dict[str, PlanCallback]:
        """Return a project's callbacks by their names."""
        return {
            callback.name: callback for callback in self.plan.callbacks if callback.project_id == project_id
        }

    def models_of(self, project_id: int) -> list[PlanModel]:
        """List a project's models."""
        return [model for model in self.plan.models if model.project_id == project_id]

    def find_model(self, project_id: int, name: str) -> PlanModel | Refusal:
        """Find a project's model, or refuse in the same words whether it is another's or nobody's."""
        model = self._models.get((project_id, name))
        return Refusal(404, f"There is no model '{name[:200]}' in this project.") if model is None else model

    def find_target(self, project_id: int, target: Target) -> PlanModel | Refusal:
        """Find the model that a path names, or a project's only one where it names none."""
        if not target.is_only:
            return self.find_model(project_id, target.model)
        served = [model for model in self.models_of(project_id) if model.champion is not None]
        if len(served) == 1:
            return served[0]
        names = list_names([model.name for model in served]) or "none"
        return Refusal(404, f"The path names no model and this project serves {names}; name one in the path.")

    def find_route(self, project_id: int, target: Target) -> Route | Refusal:
        """Find the route to a model's champion or to the version asked for; may raise NotLoaded."""
        model = self.find_target(project_id, target)
        if isinstance(model, Refusal):
            return model
        name = version_name(model, target)
        if isinstance(name, Refusal):
            return name
        champion = self._champions.get(model.id)
        if name is None:
            return champion if champion is not None else self._without_champion(model)
        if champion is not None and champion.version.plan.version == name:
            return self._without_canary(champion)
        version = find_version(model, name)
        if isinstance(version, Refusal):
            return version
        loaded = self.loaded.get(version.id)
        if loaded is not None:
            return self._direct.setdefault(version.id, Route(model, loaded, "direct", []))
        if version.id in self.failed:
            return overloaded(f"Version '{version.version}' cannot be loaded: {self.failed[version.id]}")
        raise NotLoaded(model, version)

    def _without_canary(self, champion: Route) -> Route:
        """Return the champion's route for callers who name its version: no other may answer them."""
        if champion.canary is None:
            return champion
        alone = Route(champion.model, champion.version, champion.role, champion.shadows)
        return self._pinned.setdefault(champion.model.id, alone)

    def _without_champion(self, model: PlanModel) -> Refusal:
        if model.champion is None:
            return Refusal(
                409, f"Model '{model.name}' has no champion (no_champion); promote a version first."
            )
        return overloaded(f"Model '{model.name}' is not ready: {self.stale_models[model.id]}")


def _is_for_one_model(token: PlanToken) -> bool:
    return token.model_id != 0 or INFER_MODEL in token.scopes


def _by_secrets(token: PlanToken) -> Iterator[tuple[str, PlanToken]]:
    """Yield a token by the digest of each of its secrets; as the previous one ends when that does."""
    yield token.digest, token
    if token.previous_digest:
        yield token.previous_digest, replace(token, expires_at=token.previous_until)


def find_version(model: PlanModel, name: str) -> PlanVersion | Refusal:
    """Find a model's servable version, or refuse."""
    return model.find(name) or Refusal(404, f"Model '{model.name}' has no servable version '{name[:64]}'.")


def version_name(model: PlanModel, target: Target) -> str | Refusal | None:
    """Return the version that a path names, itself or by a label; None for the champion."""
    if target.label is None:
        return target.version
    return model.aliases.get(target.label) or Refusal(
        404, f"Model '{model.name}' has no alias '{target.label[:64]}'."
    )


def version_fields(version: str, generation: int) -> bytes:
    """Write the header lines that name the version and the deployment's generation."""
    return b"driftline-version: %b\r\ndriftline-generation: %d\r\n" % (
        quote(version, safe=" !#$&'()*+,/:;=?@[]").encode(),
        generation,
    )
