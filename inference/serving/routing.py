"""The routing table: who may ask which version. Made whole from a plan and swapped by one reference."""

import hashlib
import time
from collections.abc import Mapping, Sequence

from inference.prediction_log.record import Role
from inference.serving.answers import Answer, overloaded, refusal, version_fields
from inference.serving.plan import Plan, PlanModel, PlanToken, PlanVersion
from inference.serving.versions import LoadedVersion

MAX_CACHED_ADMISSIONS = 10_000


class Route:
    """One version of one model's deployment, in one role, with the shadows that get a copy."""

    def __init__(
        self, model: PlanModel, version: LoadedVersion, role: Role, shadows: Sequence[LoadedVersion]
    ) -> None:
        self.model = model
        self.version = version
        self.role: Role = role
        self.shadows = shadows
        self.fields = version_fields(version.plan.version, model.generation)


class Admission:
    """A caller's right to one route, found once and then remembered with the table."""

    def __init__(self, token: PlanToken, route: Route) -> None:
        self.route = route
        self.may_backfill = "backfill" in token.scopes
        self.expires_at = token.expires_at


class NotLoaded(Exception):
    """The version is in the plan but not in memory; load it and ask again."""

    def __init__(self, model: PlanModel, version: PlanVersion) -> None:
        super().__init__(version.version)
        self.model = model
        self.version = version


class Target:
    """What a V2 path names."""

    def __init__(self, model: str, version: str | None) -> None:
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
    ) -> None:
        """Make the table; a model whose champion could not be loaded stays as `previous` had it.

        `loaded` and `failed` are by version id; `failed` holds the reasons.
        """
        self.plan = plan
        self.generation = plan.generation
        self.loaded = loaded
        self.failed = failed
        self.stale_models: dict[int, str] = {}  # model id -> why it was not brought to this plan
        self._tokens = {token.digest: token for token in plan.tokens}
        self._models: dict[tuple[int, str], PlanModel] = {}
        self._champions: dict[int, Route] = {}
        self._direct: dict[int, Route] = {}
        self._admissions: dict[tuple[bytes, bytes], Admission] = {}
        for model in plan.models:
            self._add(model, previous)

    def _add(self, model: PlanModel, previous: "RoutingTable | None") -> None:
        self._models[model.project_id, model.name] = model
        champion = model.find(model.champion) if model.champion is not None else None
        if champion is None:
            return
        version = self.loaded.get(champion.id)
        if version is not None:
            self._champions[model.id] = Route(model, version, "champion", self._shadows_of(model))
            return
        self.stale_models[model.id] = self.failed.get(champion.id, "The version is not loaded yet.")
        if previous is not None and model.id in previous._champions:
            self._champions[model.id] = previous._champions[model.id]

    def _shadows_of(self, model: PlanModel) -> list[LoadedVersion]:
        found = [model.find(name) for name in model.shadows if name != model.champion]
        return [
            self.loaded[version.id] for version in found if version is not None and version.id in self.loaded
        ]

    def champions(self) -> list[Route]:
        """List the routes that answer for their models."""
        return list(self._champions.values())

    def admit(self, authorization: bytes, path: bytes, scope: str = "infer") -> Admission | Answer:
        """Find the route of an infer path for a bearer token, or the answer that refuses it.

        Raises NotLoaded for a version that has to be loaded first.
        """
        admission = self._admissions.get((authorization, path))
        if admission is not None and (admission.expires_at is None or admission.expires_at > time.time()):
            return admission
        token = self.authenticate(authorization, scope)
        if isinstance(token, Answer):
            return token
        target = parse_path(path.removesuffix(b"/infer"))
        if target is None:
            return refusal(404, "There is nothing at this path; post to /v2/models/{model}/infer.")
        route = self.find_route(token, target)
        if isinstance(route, Answer):
            return route
        admission = Admission(token, route)
        if len(self._admissions) < MAX_CACHED_ADMISSIONS:
            self._admissions[authorization, path] = admission
        return admission

    def authenticate(self, authorization: bytes, *scopes: str) -> PlanToken | Answer:
        """Find the bearer's token, or refuse; one of the scopes is enough."""
        scheme, _, secret = authorization.partition(b" ")
        digest = hashlib.sha256(secret.strip()).hexdigest()
        token = self._tokens.get(digest) if scheme.lower() == b"bearer" else None
        if token is None or (token.expires_at is not None and token.expires_at <= time.time()):
            return refusal(
                401,
                "The token is missing, unknown or expired; send 'Authorization: Bearer dl_...'.",
                b'www-authenticate: Bearer error="invalid_token"\r\n',
            )
        if not set(scopes) & set(token.scopes):
            return refusal(
                403, f"The token {token.prefix} lacks the scope '{scopes[0]}'; use one that has it."
            )
        return token

    def models_of(self, project_id: int) -> list[PlanModel]:
        """List a project's models."""
        return [model for model in self.plan.models if model.project_id == project_id]

    def find_model(self, project_id: int, name: str) -> PlanModel | Answer:
        """Find a project's model, or refuse in the same words whether it is another's or nobody's."""
        model = self._models.get((project_id, name))
        return refusal(404, f"There is no model '{name[:200]}' in this project.") if model is None else model

    def find_route(self, token: PlanToken, target: Target) -> Route | Answer:
        """Find the route to a model's champion or to the version asked for; may raise NotLoaded."""
        model = self.find_model(token.project_id, target.model)
        if isinstance(model, Answer):
            return model
        champion = self._champions.get(model.id)
        if target.version is None:
            return champion if champion is not None else self._without_champion(model)
        if champion is not None and champion.version.plan.version == target.version:
            return champion
        version = model.find(target.version)
        if version is None:
            return refusal(404, f"Model '{model.name}' has no servable version '{target.version[:64]}'.")
        loaded = self.loaded.get(version.id)
        if loaded is not None:
            return self._direct.setdefault(version.id, Route(model, loaded, "direct", []))
        if version.id in self.failed:
            return overloaded(f"Version '{version.version}' cannot be loaded: {self.failed[version.id]}")
        raise NotLoaded(model, version)

    def _without_champion(self, model: PlanModel) -> Answer:
        if model.champion is None:
            return refusal(
                409, f"Model '{model.name}' has no champion (no_champion); promote a version first."
            )
        return overloaded(f"Model '{model.name}' is not ready: {self.stale_models[model.id]}")


def parse_path(path: bytes) -> Target | None:
    """Read /v2/models/{model}[/versions/{version}]; None for any other path."""
    try:
        parts = path.decode().split("/")
    except UnicodeDecodeError:
        return None
    match parts:
        case ["", "v2", "models", model] if model:
            return Target(model, None)
        case ["", "v2", "models", model, "versions", version] if model and version:
            return Target(model, version)
        case _:
            return None
