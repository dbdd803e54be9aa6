"""Which sections support which articles and clauses, and what they leave to people: facts about the pack, no advice."""

from monitors.reports.evidence.sections import EvidenceSection, EvidenceSubject, table

_COLUMNS = {
    "text": "Article or clause",
    "asks": "What it is about",
    "sections": "Sections that support it",
    "not_covered": "Not in this pack",
}
_AI_ACT = (
    (
        "Article 12",
        "Record-keeping: automatic logs over the life of a high-risk system",
        ["versions", "incidents", "runs", "audit", "not_monitored"],
        "The log of single predictions, which is exported apart and kept as long as the model's retention says; "
        "systems that do not log with Driftline.",
    ),
    (
        "Article 15",
        "Accuracy, robustness and cybersecurity",
        ["objectives", "data_quality", "drift", "performance", "fairness"],
        "Which level of accuracy is appropriate; tests of robustness against attacks; the security of systems around.",
    ),
    (
        "Article 26",
        "Duties of deployers: human oversight, relevant input data, monitoring, keeping logs",
        ["purpose", "data_quality", "incidents", "approvals", "audit"],
        "The training and authority of the people who oversee; informing workers, affected people and authorities.",
    ),
    (
        "Article 72",
        "Post-market monitoring by providers, with a plan",
        ["objectives", "data_quality", "drift", "performance", "incidents", "not_monitored"],
        "The plan itself; data from deployers who do not send theirs; reports of serious incidents to authorities.",
    ),
)
_NIST = (
    (
        "Govern",
        "Policies, roles and accountability",
        ["purpose", "approvals", "audit"],
        "An organisation's policies, culture and training.",
    ),
    (
        "Map",
        "Context, purpose and impacts",
        ["purpose", "objectives"],
        "Who is affected and how; legal context; what was decided before the model existed.",
    ),
    (
        "Measure",
        "Metrics, tests and tracking of risks",
        ["data_quality", "drift", "performance", "fairness", "not_monitored"],
        "Privacy, explainability and environmental impact; feedback of affected people.",
    ),
    (
        "Manage",
        "Responses, monitoring after deployment, recovery",
        ["incidents", "runs", "approvals", "versions"],
        "How risks are ranked across systems; third parties; the decision to retire a system.",
    ),
)
_ISO_42001 = (
    (
        "7.5",
        "Documented information",
        ["versions", "audit"],
        "How documents of the management system are controlled.",
    ),
    (
        "8.1",
        "Operational planning and control",
        ["objectives", "runs", "approvals"],
        "Processes outside Driftline.",
    ),
    (
        "9.1",
        "Monitoring, measurement, analysis and evaluation",
        ["objectives", "data_quality", "drift", "performance", "fairness", "not_monitored"],
        "Monitoring of the management system itself.",
    ),
    (
        "10.2",
        "Nonconformity and corrective action",
        ["incidents", "runs"],
        "Whether a cause was removed for good; actions that people took elsewhere and did not note.",
    ),
)
_ANNEX_A = (
    (
        "Annex A, on operation, monitoring and event logs",
        "Operation of the system and the record of its events",
        ["incidents", "runs", "audit"],
        "Events of systems that do not report to Driftline.",
    ),
    (
        "Annex A, on the quality and origin of data",
        "Data for the system",
        ["versions", "data_quality"],
        "How data was collected and labelled; rights in it.",
    ),
)


def frameworks(_: EvidenceSubject) -> EvidenceSection:
    """Write the tables; the JSON names sections by their keys, and the page and the PDF link to their titles."""
    tables = (
        ("EU AI Act, Regulation (EU) 2024/1689", _AI_ACT),
        ("NIST AI Risk Management Framework 1.0, functions", _NIST),
        ("ISO/IEC 42001:2023, clauses", (*_ISO_42001, *_ANNEX_A)),
    )
    return EvidenceSection(
        "frameworks",
        "What this pack supports, and what it does not",
        [
            "The pack supports work on these texts with facts; it does not show that a system meets them, and it is no "
            "legal advice. Whether an article applies depends on the system and on who uses it for what."
        ],
        [
            table(
                title, _COLUMNS, ((text, asks, ", ".join(names), lacks) for text, asks, names, lacks in rows)
            )
            for title, rows in tables
        ],
    )
