"""GET /metrics: the state of the repository for Prometheus, the same from whichever worker answers.

Everything is read, at each scrape, from what the processes of the data folder share: its files and the database. So
nothing is counted in one process's memory, and the store is not asked: a store that hangs holds no scrape up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from django.db.models import Count
from django.http import HttpResponse
from django.urls import path
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from rest_framework.request import Request

from imagerepo.api.auth import MayScrape, ScraperAuthentication
from imagerepo.api.parsing import check_parameters
from imagerepo.api.views import ApiView
from imagerepo.catalogue import queries
from imagerepo.catalogue.models import Condemned
from imagerepo.durability import damage, drill
from imagerepo.durability.damage import Round
from imagerepo.durability.writer import Writer
from imagerepo.reconcile import fixity, purge
from imagerepo.reconcile.plans import Plans
from imagerepo.reconcile.plans import State as PlanState
from imagerepo.sessions.models import State, UploadSession
from imagerepo.sessions.service import current

UNDER_WAY = (State.COMMITTING, State.MERGED)
KINDS = ("corrupt", "missing", "unreadable")
Labelled = tuple[str, float]


class MetricsView(ApiView):
    """The text that every Prometheus takes, whatever it accepts."""

    authentication_classes = [ScraperAuthentication]
    permission_classes = [MayScrape]

    def get(self, request: Request) -> HttpResponse:
        check_parameters(request)
        registry = CollectorRegistry()
        registry.register(Shared())
        body = generate_latest(registry)
        headers = {"Cache-Control": "no-store", "Content-Length": str(len(body))}
        return HttpResponse(body, content_type=CONTENT_TYPE_PLAIN_0_0_4, headers=headers)


class Shared(Collector):
    """What the processes of this data folder share."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        writer = current().writer
        yield from _of_the_chain(writer)
        yield from _of_the_log(writer)
        yield from _of_commits()
        yield from _of_the_drill(writer)
        yield from _of_fixity(writer)
        yield from _of_deletions()
        yield from _of_plans(writer)


def _of_the_chain(writer: Writer) -> Iterator[GaugeMetricFamily]:
    state = writer.state
    yield _gauge("head_revision", "The newest live revision.", queries.head())
    yield _gauge(
        "epoch", "This writer's reign: each server that takes the repository over has a higher one.", state.epoch
    )
    yield _gauge("fenced", "1 once another server has taken over; this one may then only read.", writer.fenced)
    yield _gauge(
        "writable", "1 while neither a newer epoch nor a failing store keeps it from committing.", not writer.trouble()
    )
    yield _gauge("snapshot_sequence", "The newest durable snapshot.", state.final.sequence if state.final else 0)
    yield _gauge("snapshots_waiting", "1 while a snapshot is cut and not yet known to be durable.", writer.owes())


def _of_the_log(writer: Writer) -> Iterator[GaugeMetricFamily]:
    meaning = "What SQLite's log holds until it is begun anew, which a reader that never ends prevents."
    yield _gauge("database_log_bytes", meaning, writer.log_bytes())


def _of_commits() -> Iterator[GaugeMetricFamily]:
    sessions = UploadSession.objects.filter(state__in=UNDER_WAY).values_list("state").annotate(Count("id"))
    found = {str(state): number for state, number in sessions}
    yield _gauges("commits_under_way", "Sessions whose commit is under way.", "state", _each(UNDER_WAY, found))


def _of_the_drill(writer: Writer) -> Iterator[GaugeMetricFamily]:
    last = drill.last(writer.disk)
    if last:
        yield _gauge("drill_timestamp_seconds", "When the last restore drill was.", last.at.timestamp())
        yield _gauge("drill_duration_seconds", "How long the last restore drill took.", last.seconds)
        yield _gauge("drill_whole", "1 if the last restore drill found everything whole.", last.whole)


def _of_fixity(writer: Writer) -> Iterator[GaugeMetricFamily]:
    report, days = damage.known(writer.disk), current().config.fixity_days
    damaged = Counter(str(found.kind) for found in fixity.damaged(report).values())
    yield _gauges("fixity_damaged_bases", "Bases known to be damaged.", "kind", _each(KINDS, damaged))
    if report.round and days:
        yield from _of_the_round(report.round)
        lag = fixity.lag(report, days=days, now=datetime.now(UTC))
        yield _gauge("fixity_lag_seconds", "For how long the base to be read next has been due.", lag.total_seconds())
    if report.last and report.last.ended_at:
        ended = report.last.ended_at.timestamp()
        yield _gauge("fixity_last_round_end_timestamp_seconds", "When the last whole round ended.", ended)


def _of_the_round(now: Round) -> Iterator[GaugeMetricFamily]:
    began = now.began_at.timestamp()
    yield _gauge("fixity_round_start_timestamp_seconds", "When the round under way began.", began)
    yield _gauge("fixity_round_images", "Bases to be read in the round under way.", now.images)
    yield _gauge("fixity_round_checked_images", "Bases read in the round under way.", now.checked)


def _of_deletions() -> Iterator[GaugeMetricFamily]:
    marks = Condemned.objects.count()
    yield _gauge("deletion_marks", "Bases whose deletion is not settled; commits that add one wait.", marks)
    meaning = "Purges to be finished, and purged images of which the store may still have something."
    yield _gauge("purges_waiting", meaning, purge.waiting())


def _of_plans(writer: Writer) -> Iterator[GaugeMetricFamily]:
    states = Counter(str(plan.state) for plan in Plans(writer.disk).all())
    under_way = (PlanState.PLANNING, PlanState.APPLYING)
    yield _gauges("plans_under_way", "Plans of reconcile under way.", "state", _each(under_way, states))


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"imagerepo_{name}", meaning, value=value)


def _gauges(name: str, meaning: str, label: str, values: Iterable[Labelled]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"imagerepo_{name}", meaning, labels=[label])
    for what, value in values:
        gauge.add_metric([what], value)
    return gauge


def _each(labels: Iterable[str], found: Mapping[str, int]) -> Iterator[Labelled]:
    """A value for every label: what there is none of is 0, and not absent."""
    return ((str(label), found.get(str(label), 0)) for label in labels)


urlpatterns = [path("metrics", MetricsView.as_view())]
