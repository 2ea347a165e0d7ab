"""A Python client of the HTTP API.

::

    with AffidavitClient(api_key="afk_…") as client:
        rules = client.search("how do I return a parcel?")
        client.publish_interaction(
            user_id="u1",
            session_id="s1",
            interactions=[InteractionData(role="user", content="…"), InteractionData(role="assistant", content="…")],
        )

Answers are the server's JSON documents. What goes wrong is one exception, ``ApiError``, with the fields of the
server's problem. Only calls that change nothing, or that the server recognises when they come again, are tried
again: a publish is, because the client gives it a request id.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx2

DEFAULT_URL = "http://127.0.0.1:8128"
TRIES = 4
_RETRIED = frozenset({408, 429, 502, 503, 504})
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 30.0
_BATCH_LINES = 10_000
_BATCH_BYTES = 50_000_000

Document = dict[str, Any]


class ApiError(Exception):
    """The server said no, or did not answer. ``status`` is 0 where no answer came; ``rule`` is a stable word."""

    def __init__(self, status: int, rule: str, detail: Any, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{status} {rule}: {detail}")
        self.status = status
        self.rule = rule
        self.detail = detail
        self.problem = dict(problem or {})


@dataclass(frozen=True, slots=True)
class InteractionData:
    """One entry of a request. ``created_at`` is seconds since 1970, by default when the server receives it."""

    role: str = "User"
    content: str = ""
    shadow_content: str = ""
    expert_content: str = ""
    created_at: int | None = None
    user_action: str = "none"
    user_action_description: str = ""
    interacted_image_url: str = ""
    image_encoding: str = ""
    tools_used: Sequence[Mapping[str, Any]] = field(default=())
    citations: Sequence[Mapping[str, Any]] = field(default=())
    retrieved_learnings: Sequence[Mapping[str, Any]] = field(default=())


class AffidavitClient:
    """Calls one server. Safe from threads. Close it, or use it as a context manager."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        tries: int = TRIES,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """``url`` defaults to ``AFFIDAVIT_URL``, else this machine; ``api_key`` to ``AFFIDAVIT_API_KEY``."""
        key = api_key or os.environ.get("AFFIDAVIT_API_KEY")
        self._tries = tries
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=url or os.environ.get("AFFIDAVIT_URL") or DEFAULT_URL,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            follow_redirects=False,
            transport=transport,
            trust_env=False,
        )

    def publish_interaction(
        self,
        user_id: str,
        interactions: Sequence[InteractionData | Mapping[str, Any]],
        session_id: str,
        source: str = "",
        agent_version: str = "",
        evaluation_only: bool = False,
        request_id: str | None = None,
        *,
        wait_for_response: bool = False,
        session_finished: bool = False,
        skip_aggregation: bool = False,
        retrieval_experiment_id: str | None = None,
        retrieval_experiment_arm: str | None = None,
    ) -> Document:
        """Publish one request; durable and chained when this returns.

        With the same ``request_id`` it may be called again: the same payload gets the same answer. What stands after
        it is recorded; ``wait_for_response`` changes nothing, as there is no learning to wait for.
        """
        body = _publish_body(
            user_id,
            interactions,
            session_id,
            source,
            agent_version,
            evaluation_only,
            request_id,
            session_finished=session_finished,
            skip_aggregation=skip_aggregation,
            retrieval_experiment_id=retrieval_experiment_id,
            retrieval_experiment_arm=retrieval_experiment_arm,
        )
        params = {"wait_for_response": "true"} if wait_for_response else {}
        return _document(self._send("POST", "/api/publish_interaction", json=body, params=params, retry=True))

    def publish_interactions(self, requests: Iterable[Mapping[str, Any]]) -> list[Document]:
        """Publish many requests, each a dict as ``publish_interaction`` takes arguments. One answer for each, and a
        summary at the end; a request that is refused is an answer with ``success`` false.

        They are sent as they come, in as many bodies as needed.
        """
        answers: list[Document] = []
        summary: Document = {"lines": 0, "published": 0, "failed": 0}
        for lines in _batches(_publish_body(**{**_PUBLISH_DEFAULTS, **request}) for request in requests):
            answer = self._send(
                "POST",
                "/api/publish_interactions",
                content=b"\n".join(lines),
                headers={"Content-Type": "application/x-ndjson"},
                retry=True,
            )
            *each, told = [json.loads(line) for line in answer.content.splitlines()]
            answers += [{**found, "line": found["line"] + summary["lines"]} for found in each]
            summary = {**told, **{name: summary[name] + told[name] for name in ("lines", "published", "failed")}}
        return [*answers, summary]

    def search(
        self,
        query: str,
        top_k: int = 5,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        agent_version: str | None = None,
        tags: Sequence[str] | None = None,
        entity_types: Sequence[str] | None = None,
        as_of: int | str | None = None,
    ) -> Document:
        """Rules that share words with the question; what was found is recorded for the session that is named."""
        given = {"user_id": user_id, "session_id": session_id, "request_id": request_id, "agent_version": agent_version}
        listed = {"tags": tags, "entity_types": entity_types}
        return self._post("/api/search", {"query": query, "top_k": top_k, "as_of": as_of, **given, **listed})

    def report_session_outcome(
        self,
        session_id: str,
        outcome: str,
        occurred_at: int | None = None,
        label: str | None = None,
        value: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Document:
        """Say how a session ended: success, failure or unknown."""
        at = int(time.time()) if occurred_at is None else occurred_at
        told = {"outcome": outcome, "occurred_at": at, "label": label, "value": value, "metadata": metadata}
        return self._post("/api/session_outcome", {"session_id": session_id, **told}, retry=True)

    def get_evaluation_overview(self, from_ts: int, to_ts: int, **more: Any) -> Document:
        """The overview of a window; ``bucket``, ``source_sets``, ``source``, ``as_of`` and the rest as the API says."""
        return self._read("/api/get_evaluation_overview", {"from_ts": from_ts, "to_ts": to_ts, **more})

    def get_recent_shadow_comparisons(self, limit: int = 10, as_of: int | str | None = None) -> Document:
        """The newest verdicts of the pinned version."""
        return self._get("/api/evaluations/shadow_comparisons/recent", limit=limit, as_of=as_of)

    def get_top_disagreements(self, **given: Any) -> Document:
        """Turns whose shadow was significantly better: ``from_ts``, ``to_ts``, ``source``, ``limit``, ``offset``."""
        return self._get("/api/evaluations/shadow_comparisons/top_disagreements", **given)

    def get_trend(self, **given: Any) -> Document:
        """The shadow win rate: ``from_ts``, ``to_ts``, ``source``, ``version``, ``as_of``."""
        return self._get("/api/evaluations/trend", **given)

    def list_undecided(self, limit: int = 50, offset: int = 0, as_of: int | str | None = None) -> Document:
        """Turns and sessions whose judging ended undecided and that have no verdict since, the newest first."""
        return self._get("/api/evaluations/undecided", limit=limit, offset=offset, as_of=as_of)

    def list_sessions(self, from_ts: int, to_ts: int, **more: Any) -> Document:
        """A page of the evaluated sessions of a window."""
        return self._read("/api/evaluations/sessions", {"from_ts": from_ts, "to_ts": to_ts, **more})

    def get_evaluation_results(self, limit: int = 100, **more: Any) -> Document:
        """The results that count, newest session first."""
        return self._read("/api/get_agent_success_evaluation_results", {"limit": limit, **more})

    def get_requests(self, **given: Any) -> Document:
        """Sessions with their requests: ``user_id``, ``session_id``, ``request_id``, ``source``, times, ``top_k``."""
        return self._read("/api/get_requests", given)

    def get_interactions(self, user_id: str, **more: Any) -> Document:
        """A user's interactions, the newest first."""
        return self._read("/api/get_interactions", {"user_id": user_id, **more})

    def get_all_interactions(self, limit: int = 100, as_of: int | str | None = None) -> Document:
        """Everybody's interactions, the newest first."""
        return self._get("/api/get_all_interactions", limit=limit, as_of=as_of)

    def get_session_outcomes(self, **given: Any) -> Document:
        """Reported outcomes: ``session_ids``, ``user_id``, ``source``, ``outcome``, ``label``, times, paging."""
        return self._read("/api/get_session_outcomes", given)

    def list_reviews(self, run: str | None = None, as_of: int | str | None = None) -> Document:
        """The reviews of a run and of its iterations; without a run, those of ranges of entries."""
        return self._get("/api/reviews", run=run, as_of=as_of)

    def list_rules(self, retired: bool = False, as_of: int | str | None = None) -> Document:
        """The newest version of each rule."""
        return self._get("/api/rules", retired=retired, as_of=as_of)

    def list_assignments(self, as_of: int | str | None = None) -> Document:
        """How sessions were declared to be assigned to sources."""
        return self._get("/api/assignments", as_of=as_of)

    def get_config(self, as_of: int | str | None = None) -> Document:
        """The configuration in force."""
        return self._get("/api/get_config", as_of=as_of)

    def get_config_history(self, **given: Any) -> Document:
        """Changes of the configuration, the newest first."""
        return self._get("/api/config_history", **given)

    def get_checkpoint(self) -> bytes:
        """The newest published checkpoint, a signed note."""
        return self._send("GET", "/checkpoint", retry=True).content

    def get_tile(self, path: str) -> bytes:
        """A tile, ``LEVEL/N[.p/WIDTH]``, or a bundle of entries, ``entries/N[.p/WIDTH]`` (C2SP tlog-tiles)."""
        return self._send("GET", f"/tile/{path}", retry=True).content

    def whoami(self) -> Document:
        """Which ledger the server holds."""
        return self._get("/api/whoami")

    def health(self) -> Document:
        """Whether the server can serve."""
        return self._get("/health/ready")

    def alive(self) -> Document:
        """Whether the server's process answers."""
        return self._get("/health/live")

    def evaluation_health(self) -> Document:
        """What the judges are doing."""
        return self._get("/healthz/eval")

    def anchoring_health(self) -> Document:
        """What the timestamp schedule has done."""
        return self._get("/healthz/anchors")

    def grade_on_demand(self, session_id: str, agent_version: str, evaluation_name: str | None = None) -> Document:
        """Grade one session now, or get its grade of the last 24 hours."""
        asked = {"session_id": session_id, "agent_version": agent_version, "evaluation_name": evaluation_name}
        return self._post("/api/evaluations/grade_on_demand", asked)

    def regenerate_evaluations(self, from_ts: int, to_ts: int) -> Document:
        """Start judging a sample of a window again."""
        return self._post("/api/evaluations/regenerate", {"from_ts": from_ts, "to_ts": to_ts})

    def get_regeneration(self, job_id: str) -> Document:
        """How far a job has come."""
        return self._get(f"/api/evaluations/regenerate/{job_id}")

    def cancel_regeneration(self, job_id: str) -> Document:
        """Ask a job to go no further."""
        return _document(self._send("DELETE", f"/api/evaluations/regenerate/{job_id}", retry=True))

    def publish_rules(self, rules: Sequence[Mapping[str, Any]]) -> Document:
        """Publish rules: ``rule``, ``text``, and where wanted ``kind``, ``title``, ``tags``, ``retired``."""
        return self._post("/api/rules", {"rules": [dict(rule) for rule in rules]})

    def import_scores(self, scores: Sequence[Mapping[str, Any]]) -> Document:
        """Hand in figures of outside scorers; the same again replaces itself."""
        return self._post("/api/scores", {"scores": [dict(score) for score in scores]}, retry=True)

    def submit_review(self, statement: str, vkey: str) -> Document:
        """Hand in a statement that a reviewer signed, and the public key that it verifies under."""
        return self._post("/api/reviews", {"statement": statement, "vkey": vkey}, retry=True)

    def declare_assignment(
        self, unit: str, shares: Mapping[str, float], mechanism: str, since: int, note: str = ""
    ) -> Document:
        """Declare how sessions are assigned to sources from a moment on."""
        asked = {"unit": unit, "shares": dict(shares), "mechanism": mechanism, "since": since, "note": note}
        return self._post("/api/assignments", asked)

    def set_config(self, config: Mapping[str, Any]) -> Document:
        """Replace the whole configuration."""
        return self._post("/api/set_config", dict(config))

    def update_config(self, **fields: Any) -> Document:
        """Replace fields of the configuration."""
        return self._post("/api/update_config", fields)

    def clear_user_data(self, user_id: str) -> Document:
        """Erase a person."""
        return self._post("/api/clear_user_data", {"user_id": user_id})

    # Nothing is deleted from a ledger: each of these is an ``ApiError`` that names erasure.
    def delete_session(self, session_id: str) -> Document:
        return self._delete("/api/delete_session", {"session_id": session_id})

    def delete_request(self, request_id: str) -> Document:
        return self._delete("/api/delete_request", {"request_id": request_id})

    def delete_interaction(self, user_id: str, interaction_id: int) -> Document:
        return self._delete("/api/delete_interaction", {"user_id": user_id, "interaction_id": interaction_id})

    def delete_requests_by_ids(self, request_ids: Sequence[str]) -> Document:
        return self._delete("/api/delete_requests_by_ids", {"request_ids": [*request_ids]})

    def delete_all_interactions(self) -> Document:
        return self._delete("/api/delete_all_interactions", {})

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _get(self, path: str, **given: Any) -> Document:
        params = {name: value for name, value in given.items() if value is not None}
        return _document(self._send("GET", path, params=params, retry=True))

    def _read(self, path: str, asked: Mapping[str, Any]) -> Document:
        told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asked.items()}
        return self._post(path, told, retry=True)

    def _post(self, path: str, body: Mapping[str, Any], *, retry: bool = False) -> Document:
        return _document(self._send("POST", path, json=body, retry=retry))

    def _delete(self, path: str, body: Mapping[str, Any]) -> Document:
        return _document(self._send("DELETE", path, json=body, retry=False))

    def _send(self, method: str, path: str, *, retry: bool, **given: Any) -> httpx2.Response:
        pause = _FIRST_PAUSE
        for left in reversed(range(self._tries if retry else 1)):
            try:
                answer = self._http.request(method, path, **given)
            except httpx2.HTTPError as error:
                if not left:
                    raise ApiError(0, "no_answer", f"{method} {path}: {error}") from error
            else:
                if answer.is_success:
                    return answer
                if not left or answer.status_code not in _RETRIED:
                    raise _error(answer)
                asked = answer.headers.get("retry-after", "")
                pause = max(pause, float(asked) if asked.isdecimal() else 0)
            self._sleep(min(pause, _LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("unreachable")


_PUBLISH_DEFAULTS: dict[str, Any] = {
    "source": "",
    "agent_version": "",
    "evaluation_only": False,
    "request_id": None,
}


def _publish_body(
    user_id: str,
    interactions: Sequence[InteractionData | Mapping[str, Any]],
    session_id: str,
    source: str,
    agent_version: str,
    evaluation_only: bool,
    request_id: str | None,
    **more: Any,
) -> Document:
    entries = [asdict(entry) if isinstance(entry, InteractionData) else dict(entry) for entry in interactions]
    return {
        "request_id": request_id or uuid4().hex,  # so that it can be sent again
        "user_id": user_id,
        "session_id": session_id,
        "interaction_data_list": entries,
        "source": source,
        "agent_version": agent_version,
        "evaluation_only": evaluation_only,
        **{name: value for name, value in more.items() if value},
    }


def _batches(bodies: Iterable[Document]) -> Iterator[list[bytes]]:
    """Bodies as lines, as many at once as a server takes."""
    lines: list[bytes] = []
    held = 0
    for body in bodies:
        line = json.dumps(body, ensure_ascii=False).encode()
        if lines and (len(lines) == _BATCH_LINES or held + len(line) > _BATCH_BYTES):
            yield lines
            lines, held = [], 0
        lines.append(line)
        held += len(line) + 1
    if lines:
        yield lines


def _document(answer: httpx2.Response) -> Document:
    try:
        document = answer.json()
    except ValueError as error:
        raise ApiError(answer.status_code, "no_json", "expected a JSON document") from error
    if not isinstance(document, dict):
        raise ApiError(answer.status_code, "no_json", "expected a JSON object")
    return document


def _error(answer: httpx2.Response) -> ApiError:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return ApiError(answer.status_code, "no_problem", answer.text[:200])
    return ApiError(answer.status_code, str(problem.get("rule", "")), problem.get("detail"), problem)
