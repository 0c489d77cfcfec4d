"""API keys, answers that are given again, turns of owners, and memory: what a job needs and a worker has."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    op.create_table(
        "first_answers",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_first_answers")),
    )
    op.create_index(op.f("ix_first_answers_created_at"), "first_answers", ["created_at"])
    op.create_table(
        "turns",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_turns")),
    )
    op.add_column("jobs", sa.Column("memory_mb", sa.Integer(), nullable=True))
    op.create_index("ix_jobs_queue", "jobs", ["status", "owner", "priority", "id", "device", "memory_mb"])
    op.add_column("workers", sa.Column("memory_mb", sa.Integer(), nullable=True))
    op.add_column("workers", sa.Column("used_memory_mb", sa.Integer(), nullable=True))
    op.add_column("workers", sa.Column("waits_for", sa.String(), nullable=True))
    op.add_column("workers", sa.Column("oom_kills", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("workers", "oom_kills")
    op.drop_column("workers", "waits_for")
    op.drop_column("workers", "used_memory_mb")
    op.drop_column("workers", "memory_mb")
    op.drop_index("ix_jobs_queue", "jobs")
    op.drop_column("jobs", "memory_mb")
    op.drop_table("turns")
    op.drop_index(op.f("ix_first_answers_created_at"), "first_answers")
    op.drop_table("first_answers")
    op.drop_table("api_keys")
