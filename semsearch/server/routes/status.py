"""What is served, and whether it is ready."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
