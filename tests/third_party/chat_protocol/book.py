"""The chat's two documents as a judge: what was said on the wire against what they say may be said.

Job: read both documents from the binary, make a validator of each message (jsonschema, Draft 2020-12), keep what was seen and what was
wrong. Used by `talk`, `web`, the suite. Not here: saying anything.

Answers and events are judged closed: a field that the documents do not name is a fault, though readers are told to pass over it.
"""

import copy
import json
import subprocess

from jsonschema import Draft202012Validator


class Book:
    """Both documents, and what happened."""

    def __init__(self, binary):
        self.asyncapi, self.openapi = (said(binary, option) for option in ("--chat", "--chat-http"))
        self.schemas = self.asyncapi["components"]["schemas"]
        self.requests = sorted(name.removeprefix("request.") for name in self.schemas if name.startswith("request."))
        self.errors = [one["const"] for one in self.schemas["ErrorName"]["oneOf"]]
        self._validators, self.seen, self.wrong, self.checks = {}, set(), {}, 0

    def validator(self, name, openapi=False):
        """Of a schema by its name; of `id` and `ok` around it where that is how it is sent."""
        if (name, openapi) not in self._validators:
            document = self.openapi if openapi else self.asyncapi
            root = closed({"components": {"schemas": document["components"]["schemas"]}})
            payload = document["components"]["messages"][name]["payload"] if not openapi and name in document["components"]["messages"] else None
            root["allOf"] = [closed(copy.deepcopy(payload)) if payload else {"$ref": f"#/components/schemas/{name}"}]
            Draft202012Validator.check_schema(root)
            self._validators[name, openapi] = Draft202012Validator(root)
        return self._validators[name, openapi]

    def judge(self, name, value, openapi=False):
        """A message against its schema; it counts as seen."""
        self.checks += 1
        self.seen.add(name)
        for error in self.validator(name, openapi).iter_errors(value):
            self.fault(f"schema {name}", f"{error.json_path}: {error.message} in {json.dumps(value, ensure_ascii=False)[:400]}")
        return value

    def fault(self, id, text):
        """Something that is not as the documents say; the first one of each id is told."""
        self.wrong.setdefault(id, text)

    def came(self, text, asked):
        """A frame of the server's; `asked`: the names of requests by their ids. Gives it, read."""
        value = json.loads(text)
        if "on" in value:
            kind = "event" if "offset" in value and "by" in value else "notice"
            self.judge(f"{kind}.{value['on']}", value)
        elif "error" in value:
            self.judge("error", value)
            self.seen.add(f"error {value['error']['name']}")
        else:
            self.judge(f"answer.{asked[value['id']]}", value)
        return value

    def never_said(self):
        """Messages and errors that the documents have and nobody said."""
        messages = [name for name in self.asyncapi["components"]["messages"]]
        return [name for name in messages + [f"error {name}" for name in self.errors] if name not in self.seen]


def said(binary, option):
    """What `madang schema` says."""
    done = subprocess.run([binary, "schema", option], check=True, capture_output=True, timeout=30)
    return json.loads(done.stdout)


def closed(schema):
    """The same, with no field beside those it names."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(below) for name, below in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made
