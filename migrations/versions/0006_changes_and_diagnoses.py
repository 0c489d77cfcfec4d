"""Changes of running jobs; what was seen of their layers, and what was concluded."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "changes",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("new", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("old", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("applied_at_step", sa.BigInteger(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        _of_job("changes"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_changes")),
    )
    op.create_table(
        "layer_statistics",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("layers", sa.JSON(), nullable=False),
        _of_job("layer_statistics"),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_layer_statistics")),
    )
    op.create_table(
        "diagnoses",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("evidence", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("advice", sa.String(), nullable=False),
        sa.Column("patch", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("live", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("applied_change", sa.Integer(), nullable=True),
        sa.Column("applied_job", sa.String(32), nullable=True),
        _of_job("diagnoses"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_diagnoses")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("diagnoses")
    op.drop_table("layer_statistics")
    op.drop_table("changes")


def _of_job(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_job_id_jobs")
    return sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=name, ondelete="CASCADE")
