"""The HTTP faces of the chat, judged by the OpenAPI document.

Job: ask by httpx, find the operation and the status in the document, judge the body. Used by `walk`. Calls `book`. Not here: what is asked.
"""

import json
import re

import httpx

PATIENCE_S = 20


class Broken(Exception):
    """There was no answer."""


class Web:
    """Below one folder."""

    def __init__(self, book, port, folder="chat"):
        self.book, self.base = book, f"http://127.0.0.1:{port}/{folder}"

    def ask(self, method, path, **more):
        """One request; its answer is judged."""
        try:
            answer = httpx.request(method, self.base + path, timeout=PATIENCE_S, **more)
        except httpx.HTTPError as error:
            raise Broken(f"{method} {path}: {error!r}") from None
        self.judge(method, path, answer)
        return answer

    def operation(self, method, path):
        """What the document has for this."""
        for pattern, operations in self.book.openapi["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path.split("?")[0]):
                return pattern, operations[method.lower()]
        raise KeyError(path)

    def judge(self, method, path, answer):
        """Status and body."""
        pattern, operation = self.operation(method, path)
        told = operation["responses"].get(str(answer.status_code))
        if told is None:
            self.book.fault(f"http {method} {pattern}", f"{answer.status_code} is not in the document: {answer.text[:200]}")
            return
        self.book.checks += 1
        self.book.seen.add(f"http {method} {pattern} {answer.status_code}")
        schema = told.get("content", {}).get("application/json", {}).get("schema")
        if schema:
            self.book.judge(schema["$ref"].rpartition("/")[2], answer.json(), openapi=True)
            error = answer.json().get("error")
            if error:
                self.book.seen.add(f"error {error['name']}")
                if f"`{error['name']}`" not in told["description"]:
                    self.book.fault(f"http {method} {pattern}", f"{answer.status_code} does not name {error['name']}")

    def follow(self, path, until, **more):
        """Server-sent events until one has this text; every one is judged."""
        heard = {}
        with httpx.stream("GET", self.base + path, timeout=PATIENCE_S, **more) as answer:
            self.book.seen.add(f"http GET {self.operation('GET', path)[0]} {answer.status_code}")
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                heard[name] = value
                if name == "data":
                    event = json.loads(value)
                    if heard["event"] == "joined":
                        event["on"] = "joined"
                    self.book.came(json.dumps(event), {})
                    if until in value:
                        return heard.get("id")
        return None
