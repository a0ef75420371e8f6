// A file on its way to the server. Called by `chat`.
import { ChatError } from "./errors.js";
import type { Attachment } from "./protocol.js";

/** Sends a file. XMLHttpRequest where there is one and somebody wants to see how far it is; fetch cannot tell. */
export async function upload(url: URL, file: Blob, claim: Record<string, string>, told?: (part: number) => void): Promise<Attachment> {
  const headers = { ...claim, "content-type": file.type || "application/octet-stream" };
  const [status, text] = told && typeof XMLHttpRequest === "function" ? await slowly(url, file, headers, told) : await plainly(url, file, headers);
  let said: { error?: { name: string; text: string; again_ms?: number } } & Partial<Attachment> = {};
  try { said = JSON.parse(text); } catch { /* a page of somebody in between */ }
  if (status === 201 && said.url) return said as Attachment;
  throw new ChatError(said.error?.name ?? (status ? "bad-file" : "offline"), said.error?.text ?? `not taken (${status})`, said.error?.again_ms);
}

async function plainly(url: URL, body: Blob, headers: Record<string, string>): Promise<[number, string]> {
  const answer = await fetch(url, { method: "POST", body, headers }).catch(() => undefined);
  return answer ? [answer.status, await answer.text().catch(() => "")] : [0, ""];
}

function slowly(url: URL, body: Blob, headers: Record<string, string>, told: (part: number) => void): Promise<[number, string]> {
  return new Promise((done) => {
    const way = new XMLHttpRequest();
    way.open("POST", url);
    for (const [name, value] of Object.entries(headers)) way.setRequestHeader(name, value);
    way.upload.onprogress = ({ loaded, total }) => told(total ? loaded / total : 0);
    way.onloadend = () => done([way.status, way.responseText]);
    way.send(body);
  });
}
