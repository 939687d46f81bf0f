"""Describes the parts that the settings choose."""

from settings import Settings


def describe(settings: Settings) -> str:
    """Return which store, broker and mailer are in use, without their URLs."""
    store = "MongoDB" if settings.mongodb_url else f"SQLite under {settings.data_dir}"
    broker = "RabbitMQ" if settings.rabbitmq_url else "this process"
    mailer = "SMTP" if settings.smtp_url else f"files under {settings.data_dir / 'mail'}"
    return f"tasks in {store}, messages in {broker}, mails by {mailer}"
