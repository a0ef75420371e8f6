import assert from "node:assert/strict";
import test from "node:test";
import { verdict, wait_ms } from "../dist/backoff.js";

// Goal: attempts are spread over the whole range, the range doubles, and ends at its cap.
test("the wait before an attempt is anything between nothing and a bound that doubles up to its cap", () => {
  for (const [tries, bound] of [[0, 500], [1, 1000], [2, 2000], [5, 16_000], [6, 30_000], [60, 30_000], [5000, 30_000]]) {
    assert.equal(wait_ms(tries, 0, 500, 30_000), 0);
    assert.equal(wait_ms(tries, 0.5, 500, 30_000), bound / 2);
    assert.ok(wait_ms(tries, 0.999999, 500, 30_000) < bound, `${tries}`);
  }
});

test("what a close code means", () => {
  const meant = { 1000: "again", 1001: "again", 1006: "again", 1011: "again", 1012: "again", 1002: "blamed", 1007: "blamed", 1009: "blamed", 4000: "again", 4001: "again", 4002: "stop", 4003: "slowly", 4004: "again" };
  for (const [code, want] of Object.entries(meant)) assert.equal(verdict(Number(code)), want, code);
});
