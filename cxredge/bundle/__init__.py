"""The bundle format: card, models, golden images, passport, archive, signature."""
