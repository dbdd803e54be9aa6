"""Channels, silences and deliveries over HTTP. Incidents are in `driftline.api`, which joins them with runs."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.errors import invalid, not_found
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import refuse_parameter
from driftline.base.http.responses import Page
from driftline.base.strict_json import printable
from inference.registry.selectors import get_model
from monitors.alerts import selectors, silences, stored_routing
from monitors.alerts.channels import KINDS, describe_targets
from monitors.alerts.channels.masking import mask_target, without_acts
from monitors.alerts.channels.webhook.formats import FORMATS, OWN, preview_of
from monitors.alerts.incidents.labels import MATCHED
from monitors.alerts.incidents.precision import precision_of
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.routing.document import RoutingIn
from monitors.alerts.routing.matchers import MAX_LABEL, MAX_LABELS, MAX_VALUE
from monitors.alerts.schemas import (
    AttemptOut,
    ChannelOut,
    CreatedChannelOut,
    DeliveryDetailOut,
    DeliveryOut,
    PayloadPreviewOut,
    PrecisionOut,
    RotatedSecretOut,
    RouteTakenOut,
    RoutingOut,
    RoutingTestOut,
    SilenceOut,
)
from monitors.alerts.sending import channel_services
from monitors.alerts.sending.recipients import complete_labels, routes_taken
from monitors.feed.kinds import DEFAULT_OF_CHANNELS, INCIDENTS
from monitors.feed.kinds import KINDS as EVENTS
from monitors.rules.models import Rule

router = Router(tags=["alerts"])

type Label = Annotated[str, Field(max_length=MAX_LABEL)]
type LabelValue = Annotated[str, Field(max_length=MAX_VALUE)]
type EventName = Annotated[str, Field(max_length=40)]
MAX_EVENTS = 40
_EVENTS = f"what it takes messages of: {', '.join((INCIDENTS, *EVENTS))}"

_TEMPLATE = (
    "of a webhook's body where payload_format is template: JSON with placeholders, {{ incident.title }}"
)


class NewChannel(Body):
    name: str = Field(max_length=100)
    kind: str = Field(max_length=20, json_schema_extra={"enum": list(KINDS)})
    target: str = Field(max_length=500, description=describe_targets())
    payload_format: str = Field(OWN, max_length=20, json_schema_extra={"enum": list(FORMATS)})
    template: dict[str, Any] | list[Any] | None = Field(None, description=_TEMPLATE)
    min_severity: str = "warning"
    events: list[EventName] = Field(list(DEFAULT_OF_CHANNELS), max_length=MAX_EVENTS, description=_EVENTS)


class PreviewedPayload(Body):
    payload_format: str = Field(max_length=20, json_schema_extra={"enum": list(FORMATS)})
    template: dict[str, Any] | list[Any] | None = Field(None, description=_TEMPLATE)


class ChannelChanges(Body):
    name: str = Field("", max_length=100)
    target: str = Field("", max_length=500)
    payload_format: str = Field(OWN, max_length=20, json_schema_extra={"enum": list(FORMATS)})
    template: dict[str, Any] | list[Any] | None = Field(None, description=_TEMPLATE)
    min_severity: str = "warning"
    events: list[EventName] = Field(list(DEFAULT_OF_CHANNELS), max_length=MAX_EVENTS, description=_EVENTS)
    enabled: bool = True


class NewSilence(Body):
    start: Moment
    end: Moment
    reason: str = Field(max_length=200)
    model: str | None = None
    matchers: dict[str, str] = Field(
        {},
        max_length=len(MATCHED),
        description=f"labels of the alerts to mute, of {', '.join(MATCHED)}; empty: all",
    )
    all_models: bool = Field(False, description="must be true, with scope admin, when no model is named")


class RoutedLabels(Body):
    labels: dict[Label, LabelValue] = Field(
        max_length=MAX_LABELS, description='such as {"severity": "critical", "model": "churn"}'
    )
    at: Moment | None = Field(None, description="when it would be sent; without it now")


# -- channels ----------------------------------------------------------------------------------------------------------
@router.post("/channels", auth=Scoped(SCOPE_OF["channel"]), response={201: CreatedChannelOut})
def create_channel(request: HttpRequest, body: NewChannel) -> Status[CreatedChannelOut]:
    """Create a channel. A webhook's signing secret is in this answer and never again."""
    caller = caller_of(request)
    channel, secret = channel_services.create_channel(
        project=caller.project, actor=caller.actor, **body.model_dump()
    )
    return Status(
        201, CreatedChannelOut.of(channel, target=channel.target, template=channel.template, secret=secret)
    )


@router.post("/channels/preview", auth=Scoped(Scope.READ), response=PayloadPreviewOut)
def preview_payload(request: HttpRequest, body: PreviewedPayload) -> PayloadPreviewOut:
    """Write the body that a webhook would get of a made-up incident, in a format or by a template. Nothing is sent."""
    text = preview_of(body.payload_format, body.template, receiver="preview")
    return PayloadPreviewOut(body=text)


@router.get("/channels", auth=Scoped(Scope.READ), response=Page[ChannelOut])
def list_channels(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[ChannelOut]:
    """List the project's channels."""
    caller = caller_of(request)
    channels = selectors.channels(project=caller.project)
    return page(
        channels, lambda channel: _channel_out(caller, channel), by=("pk",), cursor=cursor, limit=limit
    )


@router.get("/channels/{int:channel_id}", auth=Scoped(Scope.READ), response=ChannelOut)
def read_channel(request: HttpRequest, channel_id: int) -> ChannelOut:
    """Read one channel."""
    return _channel_out(caller_of(request), _channel(request, channel_id))


@router.patch("/channels/{int:channel_id}", auth=Scoped(SCOPE_OF["channel"]), response=ChannelOut)
def change_channel(request: HttpRequest, channel_id: int, body: ChannelChanges) -> ChannelOut:
    """Change the fields that are sent; enabling a channel again clears why it was disabled."""
    channel = channel_services.update_channel(
        channel=_channel(request, channel_id), actor=caller_of(request).actor, **body.given()
    )
    return _channel_out(caller_of(request), channel)


@router.delete("/channels/{int:channel_id}", auth=Scoped(SCOPE_OF["channel"]), response={204: None})
def delete_channel(request: HttpRequest, channel_id: int) -> Status[None]:
    """Delete a channel: it sends nothing more and is not listed, its deliveries stay."""
    channel_services.delete_channel(channel=_channel(request, channel_id), actor=caller_of(request).actor)
    return Status(204, None)


@router.post(
    "/channels/{int:channel_id}/rotate-secret", auth=Scoped(SCOPE_OF["channel"]), response=RotatedSecretOut
)
def rotate_secret(request: HttpRequest, channel_id: int) -> RotatedSecretOut:
    """Make a new signing secret. For 24 hours messages are signed with the one before too, so that none is refused."""
    channel, secret = channel_services.rotate_secret(
        channel=_channel(request, channel_id), actor=caller_of(request).actor, now=now()
    )
    assert channel.previous_secret_until is not None
    return RotatedSecretOut(secret=secret, previous_valid_until=channel.previous_secret_until)


@router.post("/channels/{int:channel_id}/test", auth=Scoped(SCOPE_OF["channel"]), response={202: DeliveryOut})
def test_channel(request: HttpRequest, channel_id: int) -> Status[DeliveryOut]:
    """Send a test message; read the delivery to see what the receiver answered."""
    delivery = channel_services.send_test(
        channel=_channel(request, channel_id), actor=caller_of(request).actor
    )
    return Status(202, DeliveryOut.of(delivery))


def _channel_out(caller: Caller, channel: Channel) -> ChannelOut:
    may_change = SCOPE_OF["channel"] in caller.scopes
    return ChannelOut.of(
        channel,
        target=mask_target(channel.target) if may_change else None,
        template=channel.template if may_change else None,
    )


def _channel(request: HttpRequest, channel_id: int) -> Channel:
    return selectors.get_channel(project=caller_of(request).project, channel_id=channel_id)


# -- silences ----------------------------------------------------------------------------------------------------------
@router.post("/silences", auth=Scoped(SCOPE_OF["silence"]), response={201: SilenceOut})
def create_silence(request: HttpRequest, body: NewSilence) -> Status[SilenceOut]:
    """Mute notifications, never the state, of windows that end within (start, end] in event time."""
    caller = caller_of(request)
    if body.model is None:
        if not body.all_models:
            raise invalid(
                "/model", "Name a model, or send all_models: true to mute every one.", "missing_field"
            )
        caller.check_rights({"/all_models": "silence.all_models"})
    silence = silences.create_silence(
        project=caller.project,
        model=get_model(project=caller.project, name=body.model) if body.model is not None else None,
        start=body.start,
        end=body.end,
        reason=body.reason,
        actor=caller.actor,
        matchers=body.matchers,
    )
    return Status(201, SilenceOut.of(silence))


@router.get("/silences", auth=Scoped(Scope.READ), response=Page[SilenceOut])
def list_silences(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[SilenceOut]:
    """List the project's silences, the one that ends last first."""
    rows = selectors.silences(project=caller_of(request).project)
    return page(rows, SilenceOut.of, by=("-end", "-pk"), cursor=cursor, limit=limit)


@router.delete("/silences/{int:silence_id}", auth=Scoped(SCOPE_OF["silence"]), response={204: None})
def delete_silence(request: HttpRequest, silence_id: int) -> Status[None]:
    """End an active silence now, which keeps it in the list, or delete one that has not begun."""
    caller = caller_of(request)
    silence = selectors.get_silence(project=caller.project, silence_id=silence_id)
    silences.end_silence(silence=silence, actor=caller.actor, now=now())
    return Status(204, None)


# -- routing -----------------------------------------------------------------------------------------------------------
@router.get("/routing", auth=Scoped(Scope.READ), response=RoutingOut)
def read_routing(request: HttpRequest) -> RoutingOut:
    """Read the project's routing tree."""
    return RoutingOut.of(stored_routing.routing_of(caller_of(request).project))


@router.put("/routing", auth=Scoped(SCOPE_OF["routing"]), response=RoutingOut)
def change_routing(request: HttpRequest, body: RoutingIn) -> RoutingOut:
    """Replace the project's routing tree as a whole; open incidents are routed by the new one."""
    caller = caller_of(request)
    return RoutingOut.of(
        stored_routing.save_routing(project=caller.project, document=body.plain(), actor=caller.actor)
    )


@router.delete("/routing", auth=Scoped(SCOPE_OF["routing"]), response={204: None})
def reset_routing(request: HttpRequest) -> Status[None]:
    """Go back to the default tree: every channel hears of what it takes."""
    caller = caller_of(request)
    stored_routing.reset_routing(project=caller.project, actor=caller.actor)
    return Status(204, None)


@router.post("/routing/test", auth=Scoped(Scope.READ), response=RoutingTestOut)
def test_routing(request: HttpRequest, body: RoutedLabels) -> RoutingTestOut:
    """Return who would get an incident with given labels, and by which path through the tree. Nothing is sent."""
    project, at = caller_of(request).project, body.at or now()
    labels = complete_labels(project, body.labels)
    taken = routes_taken(project, stored_routing.routing_of(project).tree, labels)
    return RoutingTestOut(labels=labels, routes=[RouteTakenOut.of(one, at=at) for one in taken])


# -- rules -------------------------------------------------------------------------------------------------------------
@router.get("/rules/{int:rule_id}/precision", auth=Scoped(Scope.READ), response=PrecisionOut)
def read_precision(request: HttpRequest, rule_id: int) -> PrecisionOut:
    """Read how often a rule was right, and the limit that would have been right more often."""
    rule = Rule.objects.filter(project=caller_of(request).project, pk=rule_id).select_related("model").first()
    if rule is None:
        raise not_found("rule")
    return PrecisionOut.of(precision_of(rule))


# -- deliveries --------------------------------------------------------------------------------------------------------
@router.get("/deliveries", auth=Scoped(Scope.READ), response=Page[DeliveryOut])
def list_deliveries(
    request: HttpRequest,
    state: str | None = None,
    channel: int | None = None,
    incident: int | None = None,
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> Page[DeliveryOut]:
    """List deliveries, newest first."""
    if state is not None and state not in Delivery.State.values:
        raise refuse_parameter(
            "state", f"state is '{printable(state)}'; use one of {', '.join(Delivery.State.values)}."
        )
    found = selectors.deliveries(
        project=caller_of(request).project, state=state, channel_id=channel, incident_id=incident
    )
    return page(found, DeliveryOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/deliveries/{int:delivery_id}", auth=Scoped(Scope.READ), response=DeliveryDetailOut)
def read_delivery(request: HttpRequest, delivery_id: int) -> DeliveryDetailOut:
    """Read one delivery: what was sent, but for the links in it that act, and what each attempt met."""
    delivery = _delivery(request, delivery_id)
    return DeliveryDetailOut.of(
        delivery,
        subject=delivery.subject,
        body=without_acts(delivery.body),
        html=without_acts(delivery.html) or None,
        attempts=[AttemptOut.of(attempt) for attempt in selectors.attempts(delivery=delivery)],
    )


@router.post(
    "/deliveries/{int:delivery_id}/replay", auth=Scoped(SCOPE_OF["delivery"]), response={202: DeliveryOut}
)
def replay_delivery(request: HttpRequest, delivery_id: int) -> Status[DeliveryOut]:
    """Send a delivery again, under the same event id and with the same body."""
    delivery = channel_services.replay(
        delivery=_delivery(request, delivery_id), actor=caller_of(request).actor
    )
    return Status(202, DeliveryOut.of(delivery))


def _delivery(request: HttpRequest, delivery_id: int) -> Delivery:
    return selectors.get_delivery(project=caller_of(request).project, delivery_id=delivery_id)
