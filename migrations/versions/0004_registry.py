"""models with their numbers and aliases; what a version learned from, and with what."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "models",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_models")),
    )
    op.execute(
        "INSERT INTO models (name, last_version, revision) "
        "SELECT name, MAX(version), MAX(version) FROM model_versions GROUP BY name"
    )
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_moves")),
    )
    op.create_index(
        op.f("ix_alias_moves_name_alias_moves_alias_alias_moves_id"), "alias_moves", ["name", "alias", "id"]
    )
    op.add_column("model_versions", sa.Column("data_sha256", sa.String(), nullable=True))
    op.add_column("model_versions", sa.Column("libraries", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("model_versions", "libraries")
    op.drop_column("model_versions", "data_sha256")
    op.drop_index(op.f("ix_alias_moves_name_alias_moves_alias_alias_moves_id"), "alias_moves")
    op.drop_table("alias_moves")
    op.drop_table("models")
