"""A system as Prometheus sees it.

Series are in the notation of `promtool test rules`, with a scrape every 15 seconds: `0+2x8` is 0,
then 2 more in each of 8 scrapes, `_` is a scrape that is missing, and `stale` the mark that
Prometheus writes when a series ends.
"""

SCRAPES = 240  # an hour
SERVICE = 'job="service",instance="service:9100"'
WORKERS = ('job="worker",instance="10.0.0.1:9100"', 'job="worker",instance="10.0.0.2:9100"')
CRASHES = ("internal_error", "worker_lost")
DAY = 86400

Series = dict[str, str]


def steady(value: float) -> str:
    """Return a series of one value."""
    return f"{value}+0x{SCRAPES}"


def rising(by: float) -> str:
    """Return a counter that rises with each scrape."""
    return f"0+{by}x{SCRAPES}"


ZERO = steady(0)


def process(labels: str) -> Series:
    """Return what the service and the workers have in common. They do nothing."""
    counters = [
        *(f'tasks_ended_total{{status="failed",code="{code}",' for code in CRASHES),
        *(f'retries_total{{code="{code}",' for code in ("dns_error", "connect_error")),
        *(f'mails_total{{outcome="{outcome}",' for outcome in ("sent", "retried", "refused")),
        *(f'sweeper_repairs_total{{kind="{kind}",' for kind in ("lease", "message")),
        *(f'queue_wait_seconds_bucket{{le="{le}",' for le in ("60", "300", "1800", "+Inf")),
        *(
            f"{name}{{"
            for name in ("download_seconds_count", "download_bytes_total", "tasks_trimmed_total")
        ),
    ]
    return {
        f"up{{{labels}}}": steady(1),
        f"md5_light_broker_up{{{labels}}}": steady(1),
        f"md5_light_download_threads{{{labels}}}": ZERO,
        **{f"md5_light_{name}{labels}}}": ZERO for name in counters},
    }


def service(labels: str = SERVICE, *, threads: int = 0) -> Series:
    """Return the series of a healthy service. `threads` are those of the workers inside."""
    requests = "md5_light_http_request_seconds_count"
    refused = "md5_light_submissions_refused_total"
    gauges = {
        "store_up": 1,
        "tasks_overdue": 0,
        "batch_idle_seconds": 30,
        "tasks_stored": 1000,
        "tasks_stored_max": 10_000,
        "disk_free_bytes": 80e9,
        "disk_size_bytes": 100e9,
        "connections_refused_total": 0,
        "download_threads": threads,
    }
    return {
        **process(labels),
        **{f"md5_light_{name}{{{labels}}}": steady(value) for name, value in gauges.items()},
        **{
            f'md5_light_oldest_task_age_seconds{{state="{state}",{labels}}}': steady(60)
            for state in ("queued", "running", "mailing")
        },
        f'md5_light_tasks{{state="queued",{labels}}}': ZERO,
        f'{requests}{{route="/submit",status="2xx",{labels}}}': rising(100),
        f'{requests}{{route="/submit",status="5xx",{labels}}}': ZERO,
        f'{requests}{{route="/health/ready",status="2xx",{labels}}}': rising(3),
        f'{requests}{{route="/health/ready",status="5xx",{labels}}}': ZERO,
        f'{refused}{{reason="rate_limited",{labels}}}': ZERO,
        f'{refused}{{reason="too_many_unfinished",{labels}}}': ZERO,
    }


def worker(labels: str) -> Series:
    """Return the series of a healthy worker."""
    waits = "md5_light_queue_wait_seconds_bucket"
    return {
        **process(labels),
        f"md5_light_download_threads{{{labels}}}": steady(8),
        f"md5_light_download_seconds_count{{{labels}}}": rising(40),
        f"md5_light_download_bytes_total{{{labels}}}": rising(1e6),
        f'md5_light_mails_total{{outcome="sent",{labels}}}': rising(2),
        **{f'{waits}{{le="{le}",{labels}}}': rising(40) for le in ("60", "300", "1800", "+Inf")},
    }


def idle_worker(labels: str) -> Series:
    """Return the series of a worker that does nothing."""
    return {**process(labels), f"md5_light_download_threads{{{labels}}}": steady(8)}


def prolonged(series: Series) -> Series:
    """Return series that are twice as long."""
    return {
        name: values.replace(f"x{SCRAPES}", f"x{2 * SCRAPES}") for name, values in series.items()
    }


def system() -> Series:
    """Return a service and two workers, all healthy."""
    return {**service(), **worker(WORKERS[0]), **worker(WORKERS[1])}


def of(labels: str, name: str, **conditions: str) -> str:
    """Return the series of a process with that name, and those labels besides its own."""
    own = "".join(f'{label}="{value}",' for label, value in conditions.items())
    return f"md5_light_{name}{{{own}{labels}}}"


def ending(series: Series, after: int) -> Series:
    """Return series that end after some scrapes, because the process is gone."""
    return {
        name: f"1+0x{after} 0+0x{SCRAPES - after}"
        if name.startswith("up{")
        else values.replace(f"x{SCRAPES}", f"x{after} stale")
        for name, values in series.items()
    }


def removed(series: Series, after: int) -> Series:
    """Return series that end after some scrapes, because the target is gone as well."""
    return {
        name: values.replace(f"x{SCRAPES}", f"x{after} stale") for name, values in series.items()
    }


def beginning(series: Series, after: int) -> Series:
    """Return series that begin after some scrapes."""
    return {
        name: f"_x{after} {values.replace(f'x{SCRAPES}', f'x{SCRAPES - after}')}"
        for name, values in series.items()
    }


def interrupted(series: Series, after: int, scrapes: int) -> Series:
    """Return series with some scrapes missing."""
    return {
        name: f"1+0x{after} 0+0x{scrapes} 1+0x{SCRAPES}"
        if name.startswith("up{")
        else _interrupted(values, after, scrapes)
        for name, values in series.items()
    }


def _interrupted(values: str, after: int, scrapes: int) -> str:
    first, by = values.partition("x")[0].split("+")
    resumed = float(first) + float(by) * (after + scrapes)
    return (
        f"{values.replace(f'x{SCRAPES}', f'x{after}')} stale _x{scrapes} {resumed:g}+{by}x{SCRAPES}"
    )
