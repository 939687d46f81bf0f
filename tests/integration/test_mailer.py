import email
import email.policy
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme

from devtools.servers.inbox import Inbox
from devtools.servers.process import free_port
from devtools.servers.raw_origin import RawOrigin, drip
from devtools.waiting import wait_for
from settings import Settings
from tasks.digests import Algorithm, Expected
from tasks.failure import Failure, FailureCode
from tasks.outcome import Failed, Succeeded
from tasks.step import StepKind
from tasks.task import Task
from tests.examples import ADDRESS, DIGEST, NOW, RETENTION, STATES, with_attempt
from tests.faults.smtp import with_tls
from worker.leases import ClaimLostError
from worker.mail import smtp, smtp_session
from worker.mail.errors import MailError
from worker.mail.mailer import FileMailer, Mailer, open_mailer
from worker.mail.message import MAX_PATH, REASON, build_message
from worker.mail.smtp import SMTPMailer

RUNNING = STATES["running"]
DONE = STATES["done, mail sending"]
FAILED = STATES["failed, mail pending"]
SETTINGS = Settings(mail_from="MD5 light <md5@example.com>")


def parse(mail: bytes) -> EmailMessage:
    message = email.message_from_bytes(mail, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage) -> str:
    return str(message.get_content())


def sent(task: Task, settings: Settings = SETTINGS) -> EmailMessage:
    """The message as it comes out at the other end."""
    return parse(build_message(task, settings).as_bytes())


def test_mail_has_the_headers_of_an_automatic_message() -> None:
    message = sent(DONE)
    assert message["From"] == "MD5 light <md5@example.com>"
    assert message["To"] == ADDRESS
    assert message["Subject"] == "MD5 computed"
    assert message["Date"].datetime == DONE.finished_at.replace(microsecond=0)  # type: ignore[union-attr]
    assert message["Message-ID"] == f"<{DONE.id}@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_type() == "text/plain"
    assert len(message.keys()) == len(set(message.keys()))


def test_body_of_a_task_that_is_done() -> None:
    digest = replace(DIGEST, size=1234)
    task = RUNNING.ended(Succeeded(digest), NOW + timedelta(minutes=1), retention=RETENTION)
    assert body(sent(task)).splitlines() == [
        "Host:      example.com",
        "Path:      /a",
        f"MD5:       {DIGEST.md5}",
        "Size:      1234 bytes",
        "Submitted: 2024-05-01 12:00:00 UTC",
        "Finished:  2024-05-01 12:01:00 UTC",
        f"Task:      {task.id}",
        "",
        REASON,
    ]


def test_body_of_a_task_that_failed() -> None:
    failure = Failure(FailureCode.HTTP_STATUS, "The server answered 404.", 404)
    task = RUNNING.ended(Failed(failure), NOW, retention=RETENTION)
    message = sent(task)
    assert message["Subject"] == "MD5 not computed"
    assert "Failed:    The server answered 404. (http_status)" in body(message).splitlines()
    assert "MD5:" not in body(message)


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [(DIGEST.md5, "it is the one you expected"), ("0" * 32, "NOT the one you expected")],
)
def test_body_says_whether_the_digest_is_the_expected_one(expected: str, verdict: str) -> None:
    task = replace(DONE, expected=Expected({Algorithm.MD5: expected}))
    assert f"Verdict:   {verdict}" in body(sent(task)).splitlines()


def test_no_verdict_where_nothing_was_expected() -> None:
    assert "Verdict" not in body(sent(DONE))


@pytest.mark.parametrize("public_url", ["https://md5.example.com", "https://md5.example.com/"])
def test_mail_links_to_the_task(public_url: str) -> None:
    lines = body(sent(DONE, replace(SETTINGS, public_url=public_url))).splitlines()
    assert f"Details:   https://md5.example.com/?id={DONE.id}" in lines


def test_every_try_is_the_same_mail() -> None:
    later = replace(
        with_attempt(DONE, StepKind.SEND_EMAIL, 7), version=9, wake_at=NOW + timedelta(days=1)
    )
    assert build_message(DONE, SETTINGS).as_bytes() == build_message(later, SETTINGS).as_bytes()


def test_each_task_has_its_own_message_id() -> None:
    assert sent(DONE)["Message-ID"] != sent(replace(DONE, id="other"))["Message-ID"]


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://b\xfccher.example/caf\xe9?q=\u4f60#x", "xn--bcher-kva.example", "/caf%C3%A9"),
        ("http://EXAMPLE.com", "example.com", "/"),
        ("http://[2001:db8::1]:8080/a?b", "2001:db8::1", "/a"),
        ("http://example.com/".ljust(8192, "a"), "example.com", f"/{'a' * 99}..."),
        ("http://example.com/" + "\xe9" * 4000, "example.com", f"/{'%C3%A9' * 16}%C3..."),
        ("http://example.com/\u202egpj.exe", "example.com", "/%E2%80%AEgpj.exe"),
        ("http://example.com/=20%0D%0ABcc:%20x", "example.com", "/=20%0D%0ABcc:%20x"),
    ],
    ids=range(7),
)
def test_little_of_the_url_reaches_the_recipient(url: str, host: str, path: str) -> None:
    """The recipient may be a stranger to the submitter, so the text must not be a message."""
    message = build_message(replace(DONE, url=url), SETTINGS)
    mail = message.as_bytes()
    lines = body(parse(mail)).splitlines()
    assert lines[:2] == [f"Host:      {host}", f"Path:      {path}"]
    assert len(path) <= MAX_PATH + 3
    assert url not in body(parse(mail))
    assert lines[-1] == REASON
    assert mail.isascii()  # 8 bits need BODY=8BITMIME, RFC 6152 § 3
    assert max(map(len, mail.split(b"\r\n"))) <= 998  # RFC 5322 § 2.1.1
    assert "Bcc" not in parse(mail)


@pytest.mark.parametrize(
    "address",
    [
        "a@example.com\r\nBcc: c@example.com",
        "a@example.com, c@example.com",
        "a@example.com\nSubject: x",
        "A <a@example.com>, c@example.com",
    ],
)
def test_no_second_recipient_and_no_header_gets_in(address: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the library's own, whatever it says
        build_message(replace(DONE, email=address), SETTINGS)


@pytest.mark.parametrize(
    "address", ["!#$%&'*+-/=?^_`{|}~@example.com", f"{'a' * 64}@{'b' * 60}.example.com"]
)
def test_any_accepted_address_is_one_recipient(inbox: Inbox, address: str) -> None:
    SMTPMailer(inbox.url, threads=4).send(build_message(replace(DONE, email=address), SETTINGS))
    assert inbox.recipients == [address]


def test_smtp_delivers_the_message_unchanged(inbox: Inbox) -> None:
    SMTPMailer(inbox.url, threads=4).send(build_message(DONE, SETTINGS))
    (mail,) = inbox.mails
    assert inbox.recipients == [ADDRESS]
    assert parse(mail)["Message-ID"] == f"<{DONE.id}@example.com>"
    assert body(parse(mail)) == body(sent(DONE))


def test_mailer_sends_several_mails(inbox: Inbox) -> None:
    mailer = SMTPMailer(inbox.url, threads=4)
    for task in (DONE, FAILED, DONE):
        mailer.send(build_message(task, SETTINGS))
    assert len(inbox.mails) == 3


@pytest.mark.parametrize("is_file", [False, True])
def test_mail_that_is_not_confirmed_is_not_sent(
    inbox: Inbox, tmp_path: Path, *, is_file: bool
) -> None:
    mailer = FileMailer(tmp_path) if is_file else SMTPMailer(inbox.url, threads=4)

    def confirm() -> None:
        raise ClaimLostError

    with pytest.raises(ClaimLostError):
        mailer.send(build_message(DONE, SETTINGS), confirm)
    assert inbox.mails == []
    assert list(tmp_path.glob("*.eml")) == []


def test_refused_recipient_is_permanent(inbox: Inbox) -> None:
    message = build_message(replace(DONE, email="nobody@example.com"), SETTINGS)
    with pytest.raises(MailError, match="550") as caught:
        SMTPMailer(inbox.url, threads=4).send(message)
    assert caught.value.is_permanent
    assert inbox.mails == []


OURS = [
    ("MAIL", "530 5.7.0 Authentication required"),
    ("MAIL", "550 we do not know you"),
    ("MAIL", "550 5.1.8 sender's domain is unknown"),
    ("RCPT", "554 5.7.1 <a@example.com>: Relay access denied"),  # docker-mailserver#385
    ("RCPT", "554 Relay access denied"),
    ("RCPT", "550 5.7.1 Relaying denied"),
    ("RCPT", "550 5.7.1\r\n550 Relaying denied"),
    ("RCPT", "550 5.1.7 <md5@example.com>: Sender address rejected"),
    ("RCPT", "550 5.1.8 <md5@example.com>: Sender address rejected: Domain not found"),
    ("RCPT", "550 relay not permitted"),  # Exim sends no enhanced codes
    ("RCPT", "550-Verification failed for <md5@example.com>\r\n550 Sender verify failed"),
    ("RCPT", "554 5.0.0 Service unavailable"),
    ("RCPT", "530 Authentication required"),
    ("RCPT", "530 5.1.0 Authentication required"),
    ("RCPT", "535 5.7.8 Authentication failed"),
    ("RCPT", "501 5.5.4 Syntax"),
    ("RCPT", "503 bad sequence of commands"),
    ("RCPT", "521 this host takes no mail"),
    ("DATA", "550 5.7.26 unauthenticated sender"),
    ("DATA", "535 authenticate first"),
]
ABOUT_THE_RECIPIENT = [
    ("RCPT", "550 no such user"),
    ("RCPT", "550 5.1.1 no such user"),
    ("RCPT", "550 5.0.0 no such user"),
    ("RCPT", "550 relay@example.com: no such user"),
    ("RCPT", "553 5.1.3 bad address"),
    ("RCPT", "552 5.2.2 mailbox full"),
    ("RCPT", "550 5.4.4 unrouteable address"),
    ("RCPT", "556 domain takes no mail"),
    ("DATA", "550 no"),
    ("DATA", "552 5.3.4 too much"),
    ("DATA", "554 spam"),
    ("DATA", "554 5.6.0 content"),
]
FOR_LATER = [
    ("MAIL", "451 later"),
    ("RCPT", "450 4.2.0 greylisted"),
    ("RCPT", "450 5.1.1 an odd mixture"),
    ("DATA", "451 try again"),
    ("DATA", "421 shutting down"),
]
OURS_FOR_LATER = [
    ("RCPT", "454 4.7.1 <a@example.com>: Relay access denied"),  # the default of Debian's Postfix
    ("RCPT", "454 Temporary authentication failure"),
    ("DATA", "432 4.7.12 A password transition is needed"),
]


@pytest.mark.parametrize(
    ("command", "reply", "is_permanent", "is_ours"),
    [
        *((*each, False, True) for each in OURS + OURS_FOR_LATER),
        *((*each, True, False) for each in ABOUT_THE_RECIPIENT),
        *((*each, False, False) for each in FOR_LATER),
    ],
)
def test_whose_fault_a_refusal_is(
    inbox: Inbox, command: str, reply: str, *, is_permanent: bool, is_ours: bool
) -> None:
    inbox.replies[command] = reply
    with pytest.raises(MailError, match=reply[:3]) as caught:
        SMTPMailer(inbox.url, threads=4).send(build_message(DONE, SETTINGS))
    assert (caught.value.is_permanent, caught.value.is_ours) == (is_permanent, is_ours)
    inbox.replies[command] = "250 OK"
    SMTPMailer(inbox.url, threads=4).send(build_message(DONE, SETTINGS))
    assert len(inbox.mails) == 1


def test_a_reply_is_logged_in_short_and_printable_and_without_addresses(inbox: Inbox) -> None:
    inbox.replies["RCPT"] = f"550 5.7.1 \x1b[31m\x00 <{ADDRESS}>: " + "a" * 400
    with pytest.raises(MailError) as caught:
        SMTPMailer(inbox.url, threads=4).send(build_message(DONE, SETTINGS))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
    assert ADDRESS not in str(caught.value)


def unreachable(_: Inbox) -> str:
    return f"smtp://127.0.0.1:{free_port()}"


def without_login(inbox: Inbox) -> str:
    return inbox.url.replace("://", "://me:s3cret@")


def without_tls(inbox: Inbox) -> str:
    return inbox.url.replace("smtp://", "smtps://")


@pytest.mark.parametrize("make_url", [unreachable, without_login, without_tls])
def test_no_session_is_transient(inbox: Inbox, make_url: Callable[[Inbox], str]) -> None:
    with pytest.raises(MailError) as caught:
        SMTPMailer(make_url(inbox), threads=4).send(build_message(DONE, SETTINGS))
    assert not caught.value.is_permanent
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", [f"{'a' * 70}.example", "mail..example"])
def test_unresolvable_mail_host_is_transient(host: str) -> None:
    with pytest.raises(MailError) as caught:
        SMTPMailer(f"smtp://{host}", threads=4).send(build_message(DONE, SETTINGS))
    assert not caught.value.is_permanent


def test_file_mailer_writes_one_file_per_task(tmp_path: Path) -> None:
    mailer = FileMailer(tmp_path / "new" / "mail")
    mailer.send(build_message(DONE, SETTINGS))
    mailer.send(build_message(DONE, SETTINGS))
    (path,) = (tmp_path / "new" / "mail").iterdir()
    assert path.name == f"{DONE.id}.eml"
    assert path.read_bytes() == build_message(DONE, SETTINGS).as_bytes()


def test_file_that_cannot_be_written_is_transient(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file where a folder should be")
    with pytest.raises(MailError) as caught:
        FileMailer(tmp_path / "mail").send(build_message(DONE, SETTINGS))
    assert not caught.value.is_permanent


@pytest.fixture(params=["smtp", "files"])
def mailer(request: pytest.FixtureRequest, tmp_path: Path, inbox: Inbox) -> Iterator[Mailer]:
    smtp_url = inbox.url if request.param == "smtp" else None
    yield open_mailer(Settings(data_dir=tmp_path, smtp_url=smtp_url), 4)
    if request.param == "smtp":
        assert len(inbox.mails) == 1
    else:
        assert len(list((tmp_path / "mail").glob("*.eml"))) == 1


def test_open_mailer_opens_what_the_settings_name(mailer: Mailer) -> None:
    mailer.send(build_message(DONE, SETTINGS))


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch, inbox: Inbox) -> Inbox:
    """A mail server that knows us, as if it were another machine."""
    monkeypatch.setattr(smtp, "_is_loopback", lambda _host: False)
    inbox.knows_us = True
    return inbox


def test_no_password_is_sent_in_clear(far_away: Inbox) -> None:
    with pytest.raises(MailError, match="TLS") as caught:
        SMTPMailer(without_login(far_away), threads=4).send(build_message(DONE, SETTINGS))
    assert caught.value.is_ours
    assert "s3cret" not in str(caught.value)
    assert far_away.logins == 0


def test_a_password_may_be_sent_in_clear_by_setting(far_away: Inbox) -> None:
    url = f"{without_login(far_away)}/?tls=off"
    SMTPMailer(url, threads=4).send(build_message(DONE, SETTINGS))
    assert (far_away.logins, len(far_away.mails)) == (1, 1)


def test_a_self_signed_certificate_is_trusted_by_setting(far_away: Inbox, tmp_path: Path) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    message, url = build_message(DONE, SETTINGS), without_login(far_away)
    with with_tls(far_away, authority):
        with pytest.raises(MailError, match="SSLCertVerificationError") as caught:
            SMTPMailer(url, threads=4).send(message)
        assert caught.value.is_ours
        SMTPMailer(f"{url}?tls=unverified", threads=4).send(message)
        SMTPMailer(url, threads=4, ca_bundle=bundle).send(message)
    assert len(far_away.mails) == 2


def test_a_session_has_a_deadline_that_bytes_do_not_extend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp_session, "SESSION_SECONDS", 0.5)
    with RawOrigin([drip(b"220-" + b"a" * 1000, 0.05)], is_greeting=False) as server:
        with pytest.raises(MailError):
            SMTPMailer(f"smtp://127.0.0.1:{server.port}", threads=4).send(
                build_message(DONE, SETTINGS)
            )
        assert server.sent < 1000


def test_a_mail_that_the_server_has_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, inbox: Inbox
) -> None:
    """A server may filter what it has for longer than it may be silent otherwise."""
    monkeypatch.setattr(smtp_session, "REPLY_SECONDS", 3.0)
    monkeypatch.setattr(smtp_session, "SESSION_SECONDS", 3.0)
    inbox.filtering = 4.0
    mailer = SMTPMailer(inbox.url, threads=4)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: mailer.send(build_message(DONE, SETTINGS)), range(4)))
    assert len(inbox.mails) == 4


def test_a_mail_that_was_refused_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, inbox: Inbox
) -> None:
    """smtplib resets the session, and a server may not answer that."""
    monkeypatch.setattr(smtp_session, "REPLY_SECONDS", 1.0)
    inbox.replies["DATA"] = "554 no such mail"
    inbox.answers_resets = False
    with pytest.raises(MailError) as caught:
        SMTPMailer(inbox.url, threads=4).send(build_message(DONE, SETTINGS))
    assert caught.value.is_permanent


def test_the_reply_to_a_mail_has_a_deadline(monkeypatch: pytest.MonkeyPatch, inbox: Inbox) -> None:
    monkeypatch.setattr(smtp_session, "HANDED_OVER_SECONDS", 0.3)
    monkeypatch.setattr(smtp_session, "REPLY_SECONDS", 3600.0)
    monkeypatch.setattr(smtp_session, "SESSION_SECONDS", 3600.0)
    inbox.may_answer.clear()
    with pytest.raises(MailError, match=r"broke off|too long"):
        SMTPMailer(inbox.url, threads=4).send(build_message(DONE, SETTINGS))


def test_silent_servers_make_way_after_a_mail_as_well(
    monkeypatch: pytest.MonkeyPatch, inbox: Inbox
) -> None:
    monkeypatch.setattr(smtp_session, "CROWDED_HANDED_OVER_SECONDS", 0.3)
    monkeypatch.setattr(smtp_session, "CROWDED_REPLY_SECONDS", 60.0)
    inbox.may_answer.clear()
    mailer = SMTPMailer(inbox.url, threads=2)
    with ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(mailer.send, build_message(DONE, SETTINGS)) for _ in range(2)]
        wait_for(lambda: any(each.done() for each in sending))
        inbox.may_answer.set()
    (error,) = [each.exception() for each in sending if each.exception()]
    assert "was silent while other mails waited" in str(error)


def test_a_server_that_is_always_slow_gets_mails_while_many_wait(
    monkeypatch: pytest.MonkeyPatch, inbox: Inbox
) -> None:
    threads = 4
    monkeypatch.setattr(smtp_session, "CROWDED_REPLY_SECONDS", 0.2)
    inbox.delay = 2.0
    mailer = SMTPMailer(inbox.url, threads=threads)

    def send(_: int) -> None:
        with suppress(MailError):
            mailer.send(build_message(DONE, SETTINGS))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, range(24)))

    # The last ones have threads to spare, so they do not count.
    assert len(inbox.mails) >= threads


def test_an_interrupted_mail_is_tried_again(inbox: Inbox) -> None:
    mailer = SMTPMailer(inbox.url, threads=4)
    message = build_message(replace(DONE, email="silent@example.com"), SETTINGS)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(mailer.send, message)
        wait_for(lambda: inbox.silences)
        mailer.interrupt()
        with pytest.raises(MailError, match="stops") as caught:
            outcome.result()
    assert not caught.value.is_permanent


def test_an_intermediate_certificate_is_enough(inbox: Inbox, tmp_path: Path) -> None:
    intermediate = trustme.CA().create_child_ca()
    bundle = tmp_path / "intermediate.pem"
    intermediate.cert_pem.write_to_path(str(bundle))
    with with_tls(inbox, intermediate):
        SMTPMailer(inbox.url, threads=4, ca_bundle=bundle).send(build_message(DONE, SETTINGS))
    assert len(inbox.mails) == 1


def test_the_name_of_this_machine_is_looked_up_once(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that is unreachable holds up the look-up for many seconds."""
    threads: list[str] = []

    def look_up() -> str:
        threads.append(threading.current_thread().name)  # the inbox looks its name up as well
        return "mail.example.com"

    monkeypatch.setattr(socket, "getfqdn", look_up)
    mailer = SMTPMailer(inbox.url, threads=4)
    for _ in range(3):
        mailer.send(build_message(DONE, SETTINGS))
    assert len(inbox.mails) == 3
    assert threads.count(threading.current_thread().name) == 1
