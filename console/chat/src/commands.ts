// What begins with a slash. Pure: says what is meant; `app` does it.

export type Command =
  | { do: "say"; text: string; action: boolean } | { do: "announce"; text: string } | { do: "topic"; text: string } | { do: "join" | "create"; room: string } | { do: "msg"; who: string; text: string }
  | { do: "leave" | "help" } | { do: "invite" | "unban" | "unmute"; who: string } | { do: "kick"; who: string; why?: string }
  | { do: "ban" | "mute"; who: string; minutes?: number; why?: string } | { do: "role"; who: string; role: "owner" | "moderator" | "member" | "none" } | { do: "away"; text: string | undefined }
  | { do: "search"; words: string } | { do: "unknown"; word: string } | { do: "usage"; word: string };

/** Reads a line. Two slashes at the beginning are one that is meant to be said. */
export function read(line: string): Command {
  if (!line.startsWith("/")) return { do: "say", text: line, action: false };
  if (line.startsWith("//")) return { do: "say", text: line.slice(1), action: false };
  const [, word = "", rest = ""] = /^\/(\S*)\s*([\s\S]*)$/.exec(line) ?? [];
  const [, first = "", more = ""] = /^@?(\S*)\s*([\s\S]*)$/.exec(rest) ?? [];
  const name = word.toLowerCase();
  const need = (command: Command, ...given: string[]): Command => (given.every(Boolean) ? command : { do: "usage", word: name });
  const room = first.replace(/^#/, "");
  switch (name) {
    case "me": return need({ do: "say", text: rest, action: true }, rest);
    case "announce": return need({ do: "announce", text: rest }, rest);
    case "topic": return { do: "topic", text: rest };
    case "join": case "j": return need({ do: "join", room }, room);
    case "create": return need({ do: "create", room }, room);
    case "msg": case "dm": return need({ do: "msg", who: first, text: more }, first);
    case "leave": case "part": return { do: "leave" };
    case "invite": case "unban": case "unmute": return need({ do: name, who: first }, first);
    case "kick": return need({ do: "kick", who: first, ...(more && { why: more }) }, first);
    case "ban": case "mute": {
      const [, minutes, why] = /^(\d{1,6})?\s*([\s\S]*)$/.exec(more) ?? [];
      return need({ do: name, who: first, ...(minutes && { minutes: Number(minutes) }), ...(why && { why }) }, first);
    }
    case "role": return more === "owner" || more === "moderator" || more === "member" || more === "none" ? need({ do: "role", who: first, role: more }, first) : { do: "usage", word: name };
    case "away": return { do: "away", text: rest };
    case "back": return { do: "away", text: undefined };
    case "search": case "find": return { do: "search", words: rest };
    case "help": case "?": return { do: "help" };
    default: return { do: "unknown", word: `/${word}` };
  }
}
