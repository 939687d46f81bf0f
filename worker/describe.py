"""Describes the parts that the settings choose, for the log."""

from settings import Settings
from tasks.stores.contract import TaskStore


def describe(settings: Settings, store: TaskStore) -> str:
    """Return which store, broker and mailer are in use, without their URLs."""
    broker = "RabbitMQ" if settings.rabbitmq_url else "this process"
    mailer = "SMTP" if settings.smtp_url else f"files under {settings.data_dir / 'mail'}"
    return f"tasks in {store.description}, messages in {broker}, mails by {mailer}"
