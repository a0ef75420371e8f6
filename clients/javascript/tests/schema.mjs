// Writes the protocol's schemas (docs/chat-protocol.json) as TypeScript into tests/schema.generated.ts, for `agrees.ts` to be compiled against.
//
// Used by `npm test`. It knows the words of JSON Schema that those documents use, and fails at any other. Not here: what is compared.
import { readFileSync, writeFileSync } from "node:fs";

const document = JSON.parse(readFileSync(new URL("../../../docs/chat-protocol.json", import.meta.url), "utf8"));
const { schemas } = document.components;
const PLAIN = { string: "string", integer: "number", boolean: "boolean", null: "null" };

function type(schema) {
  if (schema.$ref) return `All[${JSON.stringify(schema.$ref.split("/").pop())}]`;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.allOf) return schema.allOf.map(type).join(" & ");
  const several = schema.oneOf ?? schema.anyOf;
  if (several && !schema.properties) return several.map(type).join(" | ");
  const kinds = [schema.type].flat().map((kind) => {
    if (kind === "array") return `Array<${type(schema.items)}>`;
    if (kind === "object") return object(schema);
    if (PLAIN[kind]) return PLAIN[kind];
    throw new Error(`what is ${JSON.stringify(schema)}?`);
  });
  return kinds.join(" | ");
}

function object({ properties = {}, required = [] }) {
  const fields = Object.entries(properties).map(([name, schema]) => `${JSON.stringify(name)}${required.includes(name) ? "" : "?"}: ${type(schema)}`);
  return `{ ${fields.join("; ")} }`;
}

const lines = Object.entries(schemas).map(([name, schema]) => `  ${JSON.stringify(name)}: ${type(schema)};`);
writeFileSync(new URL("schema.generated.ts", import.meta.url), `// Made by schema.mjs.\nexport interface All {\n${lines.join("\n")}\n}\n`);
