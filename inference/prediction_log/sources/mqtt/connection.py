"""A connection to one broker of MQTT 5, at the address that was checked."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from driftline.base.outbound.addresses import AddressBlocked
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.mqtt.settings import MqttSettings

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 60
MAX_UNACKNOWLEDGED = 1_000  # that the broker may send ahead
MAX_MESSAGE_BYTES = 4 << 20
SESSION_SECONDS = 7 * 86_400
"""How long the broker keeps messages for a source that is not read, within its own limits."""

_NO_MQTT = "The server answers as no broker of MQTT 5 does; check its address."
_TOO_LARGE = f"The broker sends a message of more than {MAX_MESSAGE_BYTES >> 20} MiB, which is not read."
_ODD = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, struct.error, MQTTException)
"""What the library raises over packets that are none."""


class Received(NamedTuple):
    """A message, and what it is acknowledged by; 0 for one that needs no word."""

    topic: str
    payload: bytes
    acknowledged_by: int
    properties: dict[str, str]


class _CheckedClient(Client):
    """A client that calls the address that was checked, and reads no message beyond its bound."""

    checked_address: tuple[str, int]
    fault = ""
    opened: socket.socket | None = None

    def _create_socket(self) -> socket.socket:
        """Connect; the socket is kept, for the library does not close it after every failure."""
        self.opened = socket.create_connection(self.checked_address, timeout=CONNECT_SECONDS)
        if self._ssl_context is not None:
            self.opened = self._ssl_context.wrap_socket(
                self.opened, server_hostname=self._host, do_handshake_on_connect=False
            )
            self.opened.do_handshake()
        return self.opened

    def _sock_recv(self, bufsize: int) -> bytes:
        """Read what is left of a packet, after the first bytes, which hold its length."""
        if bufsize > MAX_MESSAGE_BYTES:
            self.fault = _TOO_LARGE
            raise ConnectionError(_TOO_LARGE)
        return super()._sock_recv(bufsize)


class MqttConnection:
    """One session of one broker. Whatever goes wrong raises ConnectorFailed; after that it is only closed.

    A `session` is kept by the broker while nobody is connected; without one, messages are read that come meanwhile.
    """

    had_session = False
    """Whether the broker has kept the session since the last connection."""

    def __init__(
        self, settings: MqttSettings, secret: str, *, session: str = "", no_more: Sequence[str] = ()
    ) -> None:
        self._settings = settings
        self._received: list[Received] = []
        self._answer: ReasonCode | None = None
        self._refusal = ""
        self._goodbye = ""
        self._client = self._make_client(session)
        try:
            self._connect(secret, is_kept=bool(session))
            self._subscribe(is_kept=bool(session), no_more=no_more)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the broker keeps the session, and what was not acknowledged."""
        with suppress(OSError, *_ODD):
            self._client.disconnect()
        self._client._reset_sockets()  # the library has two more of its own
        if self._client.opened is not None:
            self._client.opened.close()

    def read(self, seconds: float) -> list[Received]:
        """Return the messages that have come, after so many seconds at the latest."""
        self._turn(seconds)
        found, self._received = self._received, []
        return found

    def acknowledge(self, received: Sequence[int]) -> None:
        """Report to the broker which messages it need not send again."""
        for one in received:
            self._check(self._client.ack(one, 1))

    # -- the conversation ----------------------------------------------------------------------------------------------
    def _make_client(self, session: str) -> _CheckedClient:
        client = _CheckedClient(CallbackAPIVersion.VERSION2, session, protocol=MQTTv5, manual_ack=True)
        if self._settings.is_encrypted:
            client.tls_set_context(ssl.create_default_context(cadata=self._settings.ca_certificate or None))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _connect(self, secret: str, *, is_kept: bool) -> None:
        host, port = self._settings.host_and_port()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = MAX_UNACKNOWLEDGED
        properties.MaximumPacketSize = MAX_MESSAGE_BYTES
        properties.SessionExpiryInterval = SESSION_SECONDS if is_kept else 0
        if self._settings.user:
            self._client.username_pw_set(self._settings.user, secret)

        def call() -> MQTTErrorCode:
            self._client.checked_address = str(self._settings.find_address()), port
            return self._client.connect(
                host, port, KEEP_ALIVE_SECONDS, clean_start=not is_kept, properties=properties
            )

        self._do(call)
        code = self._wait_for_answer()
        if code.is_failure:
            raise ConnectorFailed(f"The broker does not take the connection: {code.getName()}.")

    def _wait_for_answer(self) -> ReasonCode:
        """Return what the broker answers; it may end the connection with it, and sends no message before."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._answer is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConnectorFailed("The broker does not answer.")
            try:
                self._turn(left)
            except ConnectorFailed:
                if self._answer is None:
                    raise
            if self._received:
                raise ConnectorFailed(_NO_MQTT)
        return self._answer

    def _subscribe(self, *, is_kept: bool, no_more: Sequence[str]) -> None:
        """Ask for the topics of the source, which the session keeps, and leave those that it had before.

        Messages of a session may come before the answer, so that nobody waits for it.
        """
        options = SubscribeOptions(
            qos=1 if is_kept else 0,
            retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            if is_kept
            else SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE,
        )
        if no_more:
            self._do(lambda: self._client.unsubscribe([*no_more])[0])
        self._do(lambda: self._client.subscribe([(topic, options) for topic in self._settings.topics])[0])

    def _turn(self, seconds: float) -> None:
        """Wait for the next packet, and do what it asks for."""
        self._do(lambda: self._client.loop(max(seconds, 0.001)))
        if self._client._in_messages:  # of QoS 2, which nobody asked for, and which the library would gather
            raise ConnectorFailed(_NO_MQTT)
        if self._refusal:
            raise ConnectorFailed(self._refusal)

    def _do(self, step: Callable[[], MQTTErrorCode]) -> None:
        try:
            self._check(step())
        except AddressBlocked as error:
            raise ConnectorFailed(
                f"The server {self._settings.server} must not be reached: {error}."
            ) from error
        except OSError as error:
            raise ConnectorFailed(self._client.fault or self._describe(error)) from error
        except _ODD as error:
            raise ConnectorFailed(_NO_MQTT) from error

    def _check(self, code: MQTTErrorCode) -> None:
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            return
        if code == MQTTErrorCode.MQTT_ERR_PROTOCOL:
            raise ConnectorFailed(_NO_MQTT)
        reason = self._goodbye or error_string(code).rstrip(".")
        raise ConnectorFailed(self._client.fault or f"The connection to the broker has ended: {reason}.")

    def _describe(self, error: OSError) -> str:
        """Return what a failure says; of a stranger's network not whether a port is closed or silent."""
        if not isinstance(error, ssl.SSLError) and not self._settings.is_within_own_networks:
            return "The broker does not answer."
        return f"The broker cannot be read now: {(str(error) or type(error).__name__)[:300].rstrip('.')}."

    # -- what the library calls ----------------------------------------------------------------------------------------
    def _on_connect(self, _: Any, __: Any, flags: ConnectFlags, code: ReasonCode, ___: Any) -> None:
        self.had_session, self._answer = flags.session_present, code

    def _on_subscribe(self, _: Any, __: Any, ___: int, codes: list[ReasonCode], ____: Any) -> None:
        for topic, code in zip(self._settings.topics, codes, strict=False):
            if code.is_failure:
                self._refusal = f"The broker does not let {topic} be read: {code.getName()}."

    def _on_disconnect(self, _: Any, __: Any, ___: DisconnectFlags, code: ReasonCode, ____: Any) -> None:
        self._goodbye = code.getName()

    def _on_message(self, _: Any, __: Any, message: MQTTMessage) -> None:
        properties = dict(getattr(message.properties, "UserProperty", []))
        self._received.append(
            Received(message.topic, bytes(message.payload), message.mid if message.qos else 0, properties)
        )
