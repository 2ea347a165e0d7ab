"""What happens when an agent is evaluated.

Texts, and the ids of users, sessions and requests, are sealed under the user whom they speak of (``meta.scope``
is ``user/<alias>``). In the open stand random aliases, sources, agent versions, citations, codes and numbers.

======================  ==================================================================================
stream                  holds
======================  ==================================================================================
``request/<alias>``     ``request.published``, then one ``interaction.published`` for each turn that it carries
``shadow/<seq>``        the judging of one turn, named by the seq of its interaction: calls, then a verdict
``session/<alias>``     gradings of one session with their calls; reported outcomes
``retrieval/<name>``    what searches returned: of a session or a user, by alias; of nobody named, by day
``regeneration/<job>``  a job's start, and its end
``score/<alias>``       what one outside run scored
``rule/<id>``           the versions of one rule
``config``              configuration snapshots
``assignment``          declarations of how sessions are assigned to sources
``judge_prompt/<id>``   the text of one version of a judge's prompt
``import/…``            verdicts of an import that name no turn here, and the completion of imports
======================  ==================================================================================

Times named ``…_at`` are whole seconds since 1970, UTC, as the caller gave them or, where nobody did, as the
server saw them. When an event was recorded is the entry's own ``at``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..event import Event, Sealed
from ..number import Number

ALIAS = "^[a-z][a-z-]{0,31}-[0-9a-f]{16}$"
CODE = "^[a-z][a-z0-9_]{0,63}$"
DIGEST = "^[0-9a-f]{64}$"
JOB = "^[0-9a-f]{32}$"

CitationKind = Literal["playbook", "profile", "user_playbook", "agent_playbook"]
Speaker = Literal["user", "agent", "system"]
Better = Literal["1", "2", "tie"]
Made = Literal["live", "on_demand", "regeneration", "import"]
"""What led to a judgement: a worker that follows the log, a click, a job, or another system's record."""


class Citation(BaseModel):
    """A rule that an answer says it used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: CitationKind
    rule: str
    title: str = ""


class RequestPublished(Event):
    """An agent published one request: the envelope of the interactions that follow it in its stream.

    ``interactions`` follow; ``dropped`` more carried no content. ``requested_at`` is when the request arrived,
    for an import when it had arrived there. ``sent`` is the request as the caller sent it, without its interactions.
    """

    type_name = "request.published.v1"
    request: str = Field(pattern=ALIAS)
    user: str = Field(pattern=ALIAS)
    session: str = Field(pattern=ALIAS)
    source: str
    agent_version: str
    evaluation_only: bool = False
    requested_at: int
    interactions: int = Field(ge=0)
    dropped: int = Field(default=0, ge=0)
    imported: bool = False
    sent: Sealed[dict[str, Any]]


class InteractionPublished(Event):
    """One turn. ``index`` counts from 0 among the turns of its request. ``turn`` is the entry as it was sent.

    ``interaction_id`` is the number that an import found; where there is none it is the entry's seq. Only a turn
    of the agent's that ``has_shadow`` is judged.
    """

    type_name = "interaction.published.v1"
    request: str = Field(pattern=ALIAS)
    session: str = Field(pattern=ALIAS)
    index: int = Field(ge=0)
    created_at: int
    speaker: Speaker
    has_shadow: bool = False
    citations: tuple[Citation, ...] = ()
    interaction_id: int | None = None
    turn: Sealed[dict[str, Any]]


class RulesRetrieved(Event):
    """A search returned these rules, named by the seq of the version that was returned, best first."""

    type_name = "rules.retrieved.v1"
    rules: tuple[int, ...]
    user: str | None = Field(default=None, pattern=ALIAS)
    session: str | None = Field(default=None, pattern=ALIAS)
    request: str | None = Field(default=None, pattern=ALIAS)
    query: Sealed[str]


class RulePublished(Event):
    """A rule that agents search, in this version. Its text is declared open: it speaks of no person.

    Publishing it again replaces what a search returns; ``retired`` takes it out of searches.
    """

    type_name = "rule.published.v1"
    rule: str = Field(pattern="^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")
    kind: CitationKind = "agent_playbook"
    title: str = ""
    text: str
    tags: tuple[str, ...] = ()
    agent_version: str | None = None
    retired: bool = False


class ShadowJudged(Event):
    """A judge compared the served answer of a turn with its shadow.

    ``turn`` is the seq of the interaction, None where an import names one that is not on the ledger.
    ``reflexio_is_request_1`` says which answer was shown first, and ``better`` which of the two won. The position is
    the first bit of ``position_seed`` (hex). ``call`` is the seq of the reply that was read. The version of the prompt
    stands in the metadata, the digest of the text that was used here. ``judged_at`` is microseconds since 1970.
    """

    type_name = "shadow.judged.v1"
    turn: int | None = None
    session: str | None = Field(default=None, pattern=ALIAS)
    agent_version: str
    reflexio_is_request_1: bool
    better: Better
    significant: bool
    judged_at: int
    made: Made = "live"
    model: str | None = None
    prompt_digest: str | None = Field(default=None, pattern=DIGEST)
    position_seed: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    call: int | None = None
    job: str | None = Field(default=None, pattern=JOB)
    verdict_id: int | None = None
    detail: Sealed[dict[str, Any]]


class ShadowUndecided(Event):
    """No verdict came of judging a turn, after ``calls`` calls; ``reason`` is a code."""

    type_name = "shadow.undecided.v1"
    turn: int
    session: str = Field(pattern=ALIAS)
    agent_version: str
    reason: str = Field(pattern=CODE)
    calls: int = Field(ge=0)
    made: Made = "live"
    model: str | None = None
    prompt_digest: str | None = Field(default=None, pattern=DIGEST)
    position_seed: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    job: str | None = Field(default=None, pattern=JOB)


class SessionGraded(Event):
    """A session was graded as a whole.

    ``started_at`` is when its first request arrived. ``through`` is the seq of the last interaction that the judge saw,
    of ``interactions``. ``corrections`` counts the user's corrections; ``turns`` the user's turns up to the solution,
    None where there was none. ``detail`` has ``failure_reason``, ``tags`` and, for an import, what else was found.
    """

    type_name = "session.graded.v1"
    session: str = Field(pattern=ALIAS)
    agent_version: str
    evaluation_name: str = "agent_success"
    success: bool
    failure_type: str | None = None
    corrections: int
    turns: int | None = None
    escalated: bool
    started_at: int
    through: int | None = None
    interactions: int | None = Field(default=None, ge=0)
    made: Made = "live"
    model: str | None = None
    prompt_digest: str | None = Field(default=None, pattern=DIGEST)
    call: int | None = None
    job: str | None = Field(default=None, pattern=JOB)
    result_id: int | None = None
    detail: Sealed[dict[str, Any]]


class SessionUndecided(Event):
    """No grade came of judging a session, after ``calls`` calls; ``reason`` is a code."""

    type_name = "session.undecided.v1"
    session: str = Field(pattern=ALIAS)
    agent_version: str
    evaluation_name: str = "agent_success"
    reason: str = Field(pattern=CODE)
    calls: int = Field(ge=0)
    through: int | None = None
    made: Made = "live"
    model: str | None = None
    prompt_digest: str | None = Field(default=None, pattern=DIGEST)
    job: str | None = Field(default=None, pattern=JOB)


class SessionOutcomeReported(Event):
    """A caller says how a session ended. ``revision`` counts from 1; the last one is in force.

    ``detail`` has ``label`` and ``metadata``. It is no judgement and stands in no number of the overview.
    """

    type_name = "session.outcome_reported.v1"
    session: str = Field(pattern=ALIAS)
    outcome: Literal["success", "failure", "unknown"]
    occurred_at: int
    value: Number | None = None
    revision: int = Field(ge=1)
    detail: Sealed[dict[str, Any]]


class ScoreImported(Event):
    """An outside scorer's figure. The same run and scorer again replaces it.

    ``run`` is the alias of the scorer's run id. ``sessions`` is the session that it names, where exactly one has that
    id; else ``named`` is the alias of the id itself, to be matched when it is read. ``detail`` has the ids.
    """

    type_name = "score.imported.v1"
    source: str
    run: str = Field(pattern=ALIAS)
    scorer: str
    value: Number
    scored_at: int
    sessions: tuple[str, ...] = ()
    named: str | None = Field(default=None, pattern=ALIAS)
    detail: Sealed[dict[str, Any]]


class ConfigChanged(Event):
    """The configuration from here on. ``changed`` names what differs from before; ``document`` is the whole of it."""

    type_name = "config.changed.v1"
    changed: tuple[str, ...]
    shadow_comparison_judge_prompt_version: str
    eval_sample_n_per_stratum: int = Field(gt=0)
    eval_concurrency_limit: int = Field(gt=0)
    sampling_rate: Number | None = None
    evaluation_only_sampling_rate: Number | None = None
    document: Sealed[dict[str, Any]]


class JudgePromptPublished(Event):
    """The text of a judge's prompt, public, under its version; ``digest`` is the SHA-256 of ``text``."""

    type_name = "judge_prompt.published.v1"
    judge: Literal["shadow", "grade"]
    version: str
    text: str
    digest: str = Field(pattern=DIGEST)


class AssignmentDeclared(Event):
    """Whoever runs the agents says how ``unit`` s are assigned to sources from ``since`` on.

    ``shares`` are the intended shares of each source, which sum to 1; ``mechanism`` says how chance comes in.
    """

    type_name = "assignment.declared.v1"
    unit: Literal["session", "user"]
    shares: dict[str, Annotated[Number, Field(gt=0, le=1)]] = Field(min_length=1)
    mechanism: Literal["random", "hash", "other"]
    since: int
    note: str = ""


class RegenerationStarted(Event):
    """A job will judge again what it samples from the first ``upto`` entries, and nothing else.

    Its strata are (UTC day of the first request, first source); at most ``sample_n`` sessions of each are drawn, by
    ``seed``. Which ones follows from seed and entries. ``shadow`` says that the sampled sessions' turns are judged,
    too. ``tuples`` counts the distinct (session, agent version, source) among the window's requests, before sampling.
    ``plan`` is ``{"strata": [[day, source, size, sampled], …]}``.
    """

    type_name = "regeneration.started.v1"
    job: str = Field(pattern=JOB)
    from_at: int
    to_at: int
    upto: int = Field(ge=0)
    seed: str = Field(pattern="^[0-9a-f]{32}$")
    sample_n: int = Field(gt=0)
    concurrency: int = Field(gt=0)
    candidates: int = Field(ge=0)
    tuples: int | None = Field(default=None, ge=0)
    strata: int = Field(ge=0)
    sampled: int = Field(ge=0)
    shadow: bool
    plan: Sealed[dict[str, Any]]


class RegenerationCancelled(Event):
    """Somebody asked that the job go no further. What is being judged at this moment is finished."""

    type_name = "regeneration.cancelled.v1"
    job: str = Field(pattern=JOB)


class RegenerationFinished(Event):
    """The job is over: ``completed`` sessions were graded, ``failed`` were not; ``status`` says how it ended."""

    type_name = "regeneration.finished.v1"
    job: str = Field(pattern=JOB)
    status: Literal["completed", "cancelled", "error"]
    completed: int = Field(ge=0)
    failed: int = Field(ge=0)
    reason: str | None = Field(default=None, pattern=CODE)


class EvaluationImported(Event):
    """A file of another system's rows has been read whole. ``rows`` counts them by kind, ``findings`` what was odd.

    ``events`` were added. ``detail`` has the file's name, size and SHA-256, and the findings one by one, up to a limit.
    """

    type_name = "evaluation.imported.v1"
    system: str
    rows: dict[str, int]
    events: int = Field(ge=0)
    findings: dict[str, int]
    detail: Sealed[dict[str, Any]]


EVENTS: tuple[type[Event], ...] = (
    RequestPublished,
    InteractionPublished,
    RulesRetrieved,
    RulePublished,
    ShadowJudged,
    ShadowUndecided,
    SessionGraded,
    SessionUndecided,
    SessionOutcomeReported,
    ScoreImported,
    ConfigChanged,
    JudgePromptPublished,
    AssignmentDeclared,
    RegenerationStarted,
    RegenerationCancelled,
    RegenerationFinished,
    EvaluationImported,
)
