# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the backend who is in a clip, or in one frame of it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import bpy

from ..client import JobClient
from ..runtime import ensure_backend, preferences
from ..scene.footage import clip_source
from ..shared.messages import PeopleJob
from ..translations import iface
from .faces import show_face
from .receiver import Box, FoundPerson, PeopleReceiver, is_same

SAMPLES = 16
"""Frames of a clip that are looked at."""


def ask(clip: bpy.types.MovieClip, start: int | None, end: int | None) -> JobClient:
    """Start to look for people in frames of a clip, by index. Raises `BackendError`."""
    endpoint = ensure_backend(preferences())
    job = PeopleJob(clip=clip_source(clip), start=start, end=end, samples=SAMPLES)
    return JobClient(endpoint, job, PeopleReceiver())


def same_person(people: Any, clip: bpy.types.MovieClip, boxes: dict[int, Box]) -> Any:
    """Return who in the list has a face where these boxes, by frame, are; None for nobody."""
    for person in people.items:
        if person.clip == clip and is_same(_boxes_of(person), boxes):
            return person
    return None


def _boxes_of(person: Any) -> dict[int, Box]:
    try:
        told = json.loads(person.boxes)
        return {int(frame): tuple(box) for frame, box in told.items() if len(box) == 4}
    except (ValueError, TypeError, AttributeError):
        return {}


def add_person(
    scene: bpy.types.Scene, clip: bpy.types.MovieClip, found: FoundPerson, seen: str = ""
) -> Any:
    """Put somebody in the list, or find them there; they become the chosen one."""
    people = scene.mien_people
    person = same_person(people, clip, found.boxes)
    if person is None:
        person = people.items.add()
        person.key, person.clip = uuid.uuid4().hex, clip
        person.name = _free_name(people)
        person.frame, person.place = found.frame, found.place
    boxes = _boxes_of(person) | found.boxes
    person.boxes = json.dumps({frame: [round(v, 1) for v in box] for frame, box in boxes.items()})
    if seen:
        person.seen = seen
    if found.picture is not None:
        show_face(person.key, found.picture)
    people.index = next(n for n, one in enumerate(people.items) if one.key == person.key)
    return person


def _free_name(people: Any) -> str:
    taken = {person.name for person in people.items}
    number = 1
    while iface("Person {number}", number=number) in taken:
        number += 1
    return iface("Person {number}", number=number)
