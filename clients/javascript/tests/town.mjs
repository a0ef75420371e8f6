// A town to test against: the hub's side of the protocol, without sockets, clock or disk.
//
// Job: answer requests and tell events as the contract says (docs of the JSON protocol), so that the client and the page can be tried alone.
// Used by the tests here (over a network that loses things) and by `serve.mjs` (over real sockets, to look at the page).
// Not here: limits of rates, tokens, what is kept on disk. The real server is asked by tests/third_party/chat_suite.py.

/** @typedef {{ send: (text: string) => void, close: (code: number) => void }} Line */

export class Town {
  /** @param {{ now?: () => number, keep?: number }} [options] `keep`: how many entries of a log stay. */
  constructor({ now = () => 0, keep = Infinity } = {}) {
    this.now = now;
    this.keep = keep;
    /** @type {Map<string, any>} conversation by its true name: of a room, or of two people */
    this.rooms = new Map();
    /** @type {Map<string, any>} people by id */
    this.people = new Map();
    /** @type {Set<any>} */
    this.sessions = new Set();
    this.epochs = 0;
    /** Answers to these requests are kept back (for tests): a function of the request, true: no answer. */
    this.silent = () => false;
    /** An error for a request instead of doing it: a function of the request. */
    this.refuse = () => undefined;
    /** The user whom the cookie of new connections shows. */
    this.signed_in = undefined;
    this.room("*");
  }

  room(name, more = {}) {
    let room = this.rooms.get(name);
    if (!room) {
      room = { name, epoch: ++this.epochs, first: 1, log: [], nonces: new Map(), members: new Map(), topic: "", private: false, invite_only: false, slow_ms: 0, banned: new Set(), muted: new Set(), ...more };
      this.rooms.set(name, room);
    }
    return room;
  }

  person(name, guest = true, admin = false) {
    const id = `${guest ? "g" : "u"}:${name.toLowerCase()}`;
    let person = this.people.get(id);
    if (!person) this.people.set(id, (person = { id, name, guest, admin, reads: new Map(), away: undefined }));
    return person;
  }

  /** A connection begins. @param {Line} line */
  connect(line) {
    const session = { line, me: undefined, subs: new Map(), user: this.signed_in };
    this.sessions.add(session);
    return {
      message: (text) => this.#asked(session, JSON.parse(text)),
      gone: () => {
        this.sessions.delete(session);
        for (const room of session.subs.keys()) this.#presence(room, [], [session.me]);
      },
    };
  }

  /** Everybody is cut off. */
  restart(code = 1001) {
    for (const { line } of [...this.sessions]) line.close(code);
  }

  /** Says something without a connection. */
  say(room, name, text, more = {}) {
    return this.append(this.room(room), this.person(name), "message", { text, ...mentions(text), ...more });
  }

  append(room, by, on, fields, nonce) {
    const key = nonce && `${by.id} ${nonce}`;
    const old = key && room.nonces.get(key);
    if (old) return { entry: old, duplicate: true };
    const entry = { on, epoch: room.epoch, offset: room.first + room.log.length, at_ms: this.now(), by: { id: by.id, name: by.name }, ...fields };
    room.log.push(entry);
    if (key) room.nonces.set(key, entry);
    while (room.log.length > this.keep) { room.log.shift(); room.first += 1; }
    for (const session of this.sessions) if (session.subs.has(room)) this.#tell(session, room, entry);
    return { entry, duplicate: false };
  }

  #tell(session, room, entry) {
    session.line.send(JSON.stringify({ ...entry, room: this.#seen(room, session.me) }));
  }

  #all(room, what, but) {
    for (const session of this.sessions) if (session !== but && session.subs.has(room)) session.line.send(JSON.stringify({ ...what, room: this.#seen(room, session.me) }));
  }

  #presence(room, joined, left) {
    const plain = (list) => list.filter(Boolean).map(({ id, name }) => ({ id, name }));
    this.#all(room, { on: "presence", joined: plain(joined), left: plain(left), people: this.#here(room).size });
  }

  #here(room) {
    return new Set([...this.sessions].filter((one) => one.subs.has(room)).map((one) => one.me.id));
  }

  /** What this reader calls the conversation. */
  #seen(room, me) {
    return room.pair ? `@${(room.pair.find((one) => one !== me) ?? me).name}` : room.name;
  }

  #find(name, me) {
    if (!name.startsWith("@")) return this.rooms.get(name.toLowerCase()) ?? this.rooms.get(name);
    const who = [...this.people.values()].find((one) => one.name.toLowerCase() === name.slice(1).toLowerCase());
    if (!who) throw refusal("no-such-user", `nobody is called ${name.slice(1)}`);
    const key = [me.id, who.id].sort().join(" ");
    const fresh = !this.rooms.has(key);
    const room = this.room(key, { pair: [me, who] });
    if (fresh) for (const one of [me, who]) room.members.set(one.id, "member");
    return room;
  }

  #asked(session, request) {
    const { id, do: what } = request;
    if (this.silent(request)) return;
    const after = [];
    let answer;
    try {
      const refused = this.refuse(request);
      if (refused) throw refused;
      if (!session.me && what !== "hello") throw refusal("hello-first", "say who you are first");
      answer = { id, ok: this.#do(session, request, after) };
    } catch (error) {
      if (!error.refusal) throw error;
      answer = { id, error: error.refusal };
    }
    session.line.send(JSON.stringify(answer));
    for (const then of after) then();
  }

  #do(session, request, after) {
    const { me } = session;
    const mine = (need = "member") => {
      const room = this.#find(request.room, me);
      if (!room) throw refusal("no-such-room", `there is no room ${request.room}`);
      if (need !== "any" && !room.members.has(me.id) && room.name !== "*") throw refusal("not-there", "join first");
      if (need === "moderator" && !["moderator", "owner"].includes(room.members.get(me.id)) && !me.admin) throw refusal("not-allowed", "owners and moderators may");
      return room;
    };
    const written = (room, on, fields) => {
      if (room.muted.has(me.id)) throw refusal("muted", "you may not speak here");
      if (room.pair) for (const one of this.sessions) if (one.me && room.pair.includes(one.me) && !one.subs.has(room)) this.#enter(one, room, undefined, true);
      const { entry, duplicate } = this.append(room, me, on, fields, request.nonce);
      return { room: request.room, epoch: entry.epoch, offset: entry.offset, at_ms: entry.at_ms, duplicate };
    };
    const aimed = (on, then) => {
      const room = mine("moderator"), who = this.#named(request.who);
      then?.(room, who);
      const { entry } = this.append(room, me, on, { who: { id: who.id, name: who.name }, ...(request.why && { why: request.why }) });
      return { epoch: entry.epoch, offset: entry.offset };
    };
    const out = (why) => (room, who) => {
      room.members.delete(who.id);
      after.push(() => {
        for (const one of this.sessions) if (one.me === who && one.subs.delete(room)) one.line.send(JSON.stringify({ on: "left", room: room.name, why }));
        this.#presence(room, [], [who]);
      });
    };
    switch (request.do) {
      case "hello": {
        const name = session.user ?? request.name ?? request.key?.split(" ")[1];
        if (!name) throw refusal("users-only", "say a name");
        if (!/^[\p{L}\p{N}][\p{L}\p{N}\p{M}._-]{0,31}$/u.test(name)) throw refusal("bad-name", "1 to 32 letters, digits, - _ or .");
        if (request.key && request.key !== `key ${name}`) throw refusal("bad-key", "not that guest's key");
        if (!request.key && this.people.has(`g:${name.toLowerCase()}`) && [...this.sessions].some((one) => one.me?.name === name)) throw refusal("name-taken", `somebody is called ${name}`);
        session.me = this.person(name, !session.user);
        const { guest, admin } = session.me;
        return { chat: "town", you: { id: session.me.id, name: session.me.name, guest, admin }, ...(guest && { key: `key ${name}` }), limits: { message_bytes: 8192, rooms: 100, burst: 20, per_second: 5, file_bytes: 10485760 }, now_ms: this.now() };
      }
      case "join": case "create": {
        let room = this.#find(request.room, me);
        if (request.do === "create" && room) throw refusal("room-taken", "there is one of this name");
        if (room?.banned.has(me.id)) throw refusal("banned", "you may not come in");
        if (room?.invite_only && !room.members.has(me.id)) throw refusal("invite-only", "only who is invited comes in");
        const { topic = "", private: hidden = false, invite_only = false } = request;
        if (!room) {
          room = this.room(request.room.toLowerCase(), { topic, private: hidden, invite_only });
          room.members.set(me.id, "owner");
          this.append(room, me, "created", {});
        }
        return this.#enter(session, room, request.since, false, after);
      }
      case "leave": {
        const room = mine();
        room.members.delete(me.id);
        session.subs.delete(room);
        after.push(() => this.#presence(room, [], [me]));
        return {};
      }
      case "send": {
        const { text, reply, files, action, notice } = request;
        return written(mine(request.room.startsWith("@") ? "any" : "member"), "message", { text, ...(reply && { reply }), ...(files && { files }), ...(action && { action }), ...(notice && { notice }), ...mentions(text) });
      }
      case "announce": return written(this.room("*"), "message", { text: request.text });
      case "edit": case "delete": {
        const room = mine(), entry = room.log[request.offset - room.first];
        if (entry?.on !== "message") throw refusal("no-such-message", "it is not there");
        if (entry.by.id !== me.id && (request.do === "edit" || room.members.get(me.id) === "member")) throw refusal("not-yours", "somebody else said it");
        const done = written(room, request.do === "edit" ? "edited" : "deleted", { of: request.offset, ...(request.do === "edit" && { text: request.text }) });
        if (request.do === "edit") { entry.text = request.text; entry.edits = (entry.edits ?? 0) + 1; }
        else { entry.on = "removed"; delete entry.text; }
        return done;
      }
      case "react": return written(mine(), "reaction", { of: request.offset, emoji: request.emoji, add: request.add });
      case "history": {
        const room = mine(), { before = Infinity, after: behind = 0, limit = 50 } = request;
        const fit = room.log.filter((entry) => entry.offset < before && entry.offset > behind);
        const events = (request.after !== undefined ? fit.slice(0, limit) : fit.slice(-limit)).map((entry) => ({ ...entry, room: request.room }));
        return { room: request.room, epoch: room.epoch, first: room.first, next: room.first + room.log.length, events, more: fit.length > events.length };
      }
      case "search": {
        const words = request.words.toLowerCase();
        const all = [...this.rooms.values()].filter((room) => room.members.has(me.id) && (!request.room || room === this.#find(request.room, me)));
        return { found: all.flatMap((room) => room.log.filter((entry) => entry.text?.toLowerCase().includes(words)).map((entry) => ({ ...entry, room: this.#seen(room, me) }))).slice(-50).reverse() };
      }
      case "rooms": {
        const all = [...this.rooms.values()].filter((room) => room.members.has(me.id));
        const list = all.map((room) => {
          const read = me.reads.get(room) ?? 0;
          const fresh = room.log.filter((entry) => entry.on === "message" && entry.offset > read && entry.by.id !== me.id);
          return { room: this.#seen(room, me), topic: room.topic, private: room.private, role: room.members.get(me.id), epoch: room.epoch, next: room.first + room.log.length, read, unread: Math.min(100, fresh.length), mentions: fresh.filter((entry) => entry.mentions?.includes(me.name)).length, ...(room.log.length && { last: { ...room.log.at(-1), room: this.#seen(room, me) } }) };
        });
        const open = [...this.rooms.values()].filter((room) => !room.pair && !room.private && room.name !== "*" && !room.members.has(me.id));
        return { mine: list, open: open.map((room) => ({ room: room.name, topic: room.topic, people: this.#here(room).size })), more: false };
      }
      case "who": {
        const room = mine(), here = this.#here(room);
        const people = [...room.members].map(([id, role]) => ({ id, name: this.people.get(id).name, role, here: here.has(id), ...(this.people.get(id).away !== undefined && { away: this.people.get(id).away }) }));
        return { people, count: people.length };
      }
      case "whois": {
        const who = this.#named(request.who), here = [...this.sessions].some((one) => one.me === who);
        return { id: who.id, name: who.name, guest: who.guest, here, ...(who.away !== undefined && { away: who.away }) };
      }
      case "typing": this.#all(mine(), { on: "typing", by: { id: me.id, name: me.name } }, session); return {};
      case "read": {
        const room = mine();
        me.reads.set(room, Math.max(request.offset, me.reads.get(room) ?? 0));
        for (const one of this.sessions) if (one !== session && one.me === me) one.line.send(JSON.stringify({ on: "read", room: request.room, offset: request.offset }));
        return {};
      }
      case "set": {
        const room = mine("moderator"), { topic, private: hidden, invite_only, slow_ms } = request;
        Object.assign(room, topic !== undefined && { topic }, hidden !== undefined && { private: hidden }, invite_only !== undefined && { invite_only }, slow_ms !== undefined && { slow_ms });
        const { entry } = topic !== undefined ? this.append(room, me, "topic", { text: topic }) : this.append(room, me, "settings", { private: room.private, invite_only: room.invite_only, slow_ms: room.slow_ms });
        return { epoch: entry.epoch, offset: entry.offset };
      }
      case "role": {
        const { role } = request;
        const room = mine("moderator"), who = this.#named(request.who);
        room.members.set(who.id, role === "none" ? "member" : role);
        const { entry } = this.append(room, me, "role", { who: { id: who.id, name: who.name }, role });
        return { epoch: entry.epoch, offset: entry.offset };
      }
      case "invite": return aimed("invited", (room, who) => {
        room.members.set(who.id, "member");
        after.push(() => { for (const one of this.sessions) if (one.me === who) this.#enter(one, room, undefined, true); });
      });
      case "kick": return aimed("kicked", out("kicked"));
      case "ban": return aimed("banned", (room, who) => { room.banned.add(who.id); out("banned")(room, who); });
      case "unban": return aimed("unbanned", (room, who) => room.banned.delete(who.id));
      case "mute": return aimed("muted", (room, who) => room.muted.add(who.id));
      case "unmute": return aimed("unmuted", (room, who) => room.muted.delete(who.id));
      case "away":
        me.away = request.text;
        for (const room of session.subs.keys()) this.#all(room, { on: "away", by: { id: me.id, name: me.name }, ...(request.text !== undefined && { text: request.text }) });
        return {};
      case "ping": return {};
      default: throw refusal("malformed", `there is no request ${request.do}`);
    }
  }

  #named(name) {
    const who = [...this.people.values()].find((one) => one.name.toLowerCase() === name.toLowerCase());
    if (!who) throw refusal("no-such-user", `nobody is called ${name}`);
    return who;
  }

  #enter(session, room, since, noticed, after) {
    const fresh = !this.#here(room).has(session.me.id);
    if (!room.members.has(session.me.id)) room.members.set(session.me.id, "member");
    const end = room.first + room.log.length;
    const other = since && since.epoch !== room.epoch, old = since && since.offset + 1 < room.first;
    const next = !since ? end : other || old ? room.first : Math.min(since.offset + 1, end);
    const joined = { room: this.#seen(room, session.me), epoch: room.epoch, first: room.first, next, end, reset: Boolean(other || old), topic: room.topic, private: room.private, invite_only: room.invite_only, slow_ms: room.slow_ms, role: room.members.get(session.me.id), people: this.#here(room).size };
    const rest = () => {
      for (const entry of room.log.slice(next - room.first)) this.#tell(session, room, entry);
      session.subs.set(room, true);
      if (fresh) this.#presence(room, [session.me], []);
    };
    if (noticed) { session.line.send(JSON.stringify({ on: "joined", ...joined })); rest(); } else after.push(rest);
    return joined;
  }
}

const mentions = (text) => {
  const found = [...text.matchAll(/@([\p{L}\p{N}][\p{L}\p{N}\p{M}._-]*)/gu)].map((match) => match[1]);
  return found.length ? { mentions: found } : {};
};

export function refusal(name, text, again_ms) {
  return Object.assign(new Error(text), { refusal: { name, text, ...(again_ms !== undefined && { again_ms }) } });
}
