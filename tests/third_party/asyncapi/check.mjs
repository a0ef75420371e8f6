// Says whether an AsyncAPI document is valid, by AsyncAPI's own parser: one line for each error, exit code 1 when there is one.
// Use: node check.mjs FILE. Used by ../chat_protocol_suite.py. Not here: whether the document says the truth.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const errors = diagnostics.filter(({ severity }) => severity === 0);
for (const { message, path } of errors) console.log(`${path.join("/")}: ${message}`);
if (document) console.log(`read: ${document.allMessages().length} messages, ${document.allOperations().length} operations, AsyncAPI ${document.version()}`);
process.exit(document && errors.length === 0 ? 0 : 1);
