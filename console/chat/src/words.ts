// What the page says, in English and Korean. Both have the same keys: the compiler sees to it.
//
// Not here: what people say, and refusals that have no sentence here (the server's own is shown then).
import type { Kept, Role } from "@madang/chat";

const role_en: Record<Role, string> = { owner: "owner", moderator: "moderator", member: "member", none: "visitor" };
const role_ko: Record<Role, string> = { owner: "주인", moderator: "관리자", member: "참여자", none: "방문자" };
const plural = (count: number, one: string, many: string) => `${count} ${count === 1 ? one : many}`;

const en = {
  title: "Chat", courtyard: "Madang", rooms: "Rooms", direct: "Direct messages", open_rooms: "Open rooms", announcements: "Announcements",
  people: "People", search: "Search", settings: "Settings", close: "Close", cancel: "Cancel", save: "Save", back: "Back", more: "More",
  join: "Join", leave: "Leave room", create: "Create a room", create_do: "Create", room_name: "Name of the room", topic: "Topic", topic_none: "No topic yet",
  private: "Private", private_hint: "only its members see it", invite_only: "By invitation", invite_hint: "nobody comes in unasked", slow: "Slow mode",
  slow_hint: "seconds between two messages of one person; 0: off", invite: "Invite", invite_who: "Name of somebody to invite", room_settings: "About this room",
  send: "Send", write_to: (room: string) => `Write to ${room}`, attach: "Attach files", drop: "Let go to attach", uploading: (part: number) => `${Math.round(part * 100)} %`,
  remove: "Remove", reply: "Reply", replying: (name: string) => `Replying to ${name}`, react: "React", edit: "Edit", editing: "Editing a message", delete: "Delete",
  delete_sure: "Delete this message for everybody?", copy: "Copy text", removed: "This message was deleted.", edited: "edited", gone_reply: "a message that is not here",
  newest: "Jump to newest", fresh: (count: number) => plural(count, "new message", "new messages"), new_line: "New", beginning: "This is where the conversation begins.",
  older_gone: "What was said before is no longer kept.", loading: "Loading…", nothing: "Nothing was said here yet. Say the first word.",
  typing: (names: string[]) => names.length === 1 ? `${names[0]} is writing…` : names.length === 2 ? `${names[0]} and ${names[1]} are writing…` : `${names.length} people are writing…`,
  here: (count: number) => plural(count, "person here", "people here"), now_here: "here", not_here: "not here", away: "away", you: "you",
  sign_in: "Come in", sign_hint: "Choose a name for this visit. It stays yours in this browser.", name: "Name", name_hint: "letters and digits, up to 32", enter: "Enter",
  have_account: "I have an account", no_account: "Come in as a guest", password: "Password", login_wait: (seconds: number) => `Too many wrong passwords. Try again in ${seconds} s.`, sign_out: "Leave this name", guest: "guest", admin: "admin",
  connecting: "Connecting…", offline: "No connection. Coming back by itself…", offline_queue: (count: number) => `No connection. ${plural(count, "message waits", "messages wait")} and will be sent when it is back.`,
  back_again: "Connected again", retry_now: "Try now", replaced: "This connection was ended: you were logged out, or are here elsewhere.",
  waiting: "waiting to be sent", failed: "not sent", again: "Send again", drop_it: "Drop it", unsent: "Older messages that were never sent. Send them now?",
  switcher: "Go to", switcher_hint: "room or person", no_match: "Nothing of that name.", search_hint: "words", search_here: "in this room", search_all: "everywhere", found_none: "Nothing found.",
  language: "Language", theme: "Light", theme_auto: "as the system", theme_light: "light", theme_dark: "dark", notify: "Tell me when I am mentioned", notify_denied: "The browser does not allow it.",
  message: "Message", kick: "Send out", ban: "Ban", mute: "Mute", unmute: "Let speak again", unban: "Lift the ban", make: (role: Role) => `Make ${role_en[role]}`, for_minutes: "for how many minutes (empty: for good)",
  role: (role: Role) => role_en[role], today: "Today", yesterday: "Yesterday", skip: "To the messages", said: (name: string, text: string) => `${name}: ${text}`,
  mention_list: "People to mention", command_list: "Commands", unread: (count: number, mentions: number) => `${plural(count, "unread", "unread")}${mentions ? `, ${plural(mentions, "mention", "mentions")}` : ""}`,
  keys: "Keys", emoji_other: "another emoji", image: (name: string) => `Image ${name}`, file: (name: string, size: string) => `${name} (${size})`, in_room: (room: string) => `in ${room}`,
  unknown_command: (word: string) => `There is no command ${word}. /help shows what there is.`, too_large: (name: string, size: string) => `${name} is larger than ${size}.`,
  kicked_out: (room: string) => `You are no longer in ${room}.`, pick: "Choose a room on the left, or make one.", joined_room: (room: string) => `You are in ${room}.`,
  key_help: [["Ctrl K", "go to a room or person"], ["Alt ↑ ↓", "previous, next room"], ["↑", "in an empty line: edit your last message"], ["Shift Enter", "a new line"], ["Esc", "close, or to the newest"], ["R, E, Delete", "on a message: reply, edit, delete"]] as [string, string][],
  commands: {
    me: "/me waves: what you do", topic: "/topic TEXT: set the topic", join: "/join ROOM", create: "/create ROOM: make one", msg: "/msg NAME TEXT: write to somebody", leave: "/leave this room", invite: "/invite NAME",
    kick: "/kick NAME [WHY]", ban: "/ban NAME [MINUTES] [WHY]", unban: "/unban NAME", mute: "/mute NAME [MINUTES]", unmute: "/unmute NAME", role: "/role NAME owner|moderator|member|none", away: "/away [TEXT]", back: "/back: here again",
    search: "/search WORDS", announce: "/announce TEXT: to everybody", help: "/help",
  },
  errors: {
    offline: "No connection.", timeout: "No answer.", "name-taken": "Somebody has this name already.", "bad-name": "A name has 1 to 32 letters, digits, - _ or . and begins with a letter or digit.", "users-only": "Only people with an account come in here.",
    "bad-login": "Name or password is not right.", "no-accounts": "There are no accounts here. Come in as a guest.", "too-fast": "Too fast. Wait a moment.", "slow-mode": "This room is slow: one message at a time.", muted: "You may not speak in this room now.", banned: "You may not come into this room.", private: "This room is for its members only.",
    "invite-only": "You need an invitation for this room.", "not-allowed": "You may not do that here.", "no-such-room": "There is no such room.", "no-such-user": "There is nobody of this name.", "too-long": "That is too long.", full: "There is no more room.",
    "room-taken": "There is a room of this name already.", "no-such-message": "That message is not there.", "not-yours": "Somebody else said that.", "bad-file": "This file is not taken here.", cancelled: "Taken back.",
  } as Record<string, string>,
  notice(event: Kept): string {
    const by = event.by.name;
    switch (event.on) {
      case "created": return `${by} made this room`;
      case "topic": return event.text ? `${by} set the topic: ${event.text}` : `${by} took the topic away`;
      case "settings": return `${by} changed the room: ${[event.private ? "private" : "public", event.invite_only ? "by invitation" : "", event.slow_ms ? `slow mode ${event.slow_ms / 1000} s` : ""].filter(Boolean).join(", ")}`;
      case "role": return event.role === "none" ? `${by} took the rank of ${event.who.name} away` : `${by} made ${event.who.name} ${role_en[event.role]}`;
      case "invited": return `${by} invited ${event.who.name}`;
      case "kicked": return `${by} sent ${event.who.name} out${event.why ? `: ${event.why}` : ""}`;
      case "banned": return `${by} banned ${event.who.name}${event.why ? `: ${event.why}` : ""}`;
      case "unbanned": return `${by} lifted the ban of ${event.who.name}`;
      case "muted": return `${by} muted ${event.who.name}${event.why ? `: ${event.why}` : ""}`;
      case "unmuted": return `${by} lets ${event.who.name} speak again`;
      default: return "";
    }
  },
};
export type Words = typeof en;

const ko: Words = {
  title: "채팅", courtyard: "마당", rooms: "방", direct: "쪽지", open_rooms: "열린 방", announcements: "알림",
  people: "사람들", search: "찾기", settings: "설정", close: "닫기", cancel: "취소", save: "저장", back: "뒤로", more: "더 보기",
  join: "들어가기", leave: "방 나가기", create: "방 만들기", create_do: "만들기", room_name: "방 이름", topic: "주제", topic_none: "아직 주제가 없습니다",
  private: "비공개", private_hint: "참여자에게만 보입니다", invite_only: "초대받은 사람만", invite_hint: "초대 없이는 들어올 수 없습니다", slow: "느린 방",
  slow_hint: "한 사람이 다시 말할 수 있을 때까지의 초. 0이면 끔", invite: "초대", invite_who: "초대할 사람의 이름", room_settings: "이 방에 대하여",
  send: "보내기", write_to: (room) => `${room}에 쓰기`, attach: "파일 붙이기", drop: "여기에 놓으면 붙습니다", uploading: (part) => `${Math.round(part * 100)}%`,
  remove: "빼기", reply: "답장", replying: (name) => `${name} 님에게 답장`, react: "반응", edit: "고치기", editing: "메시지 고치는 중", delete: "지우기",
  delete_sure: "모두에게서 이 메시지를 지울까요?", copy: "글 복사", removed: "지워진 메시지입니다.", edited: "고침", gone_reply: "여기 없는 메시지",
  newest: "맨 아래로", fresh: (count) => `새 메시지 ${count}개`, new_line: "새 메시지", beginning: "여기서 이야기가 시작되었습니다.",
  older_gone: "이보다 앞선 이야기는 더 보관되어 있지 않습니다.", loading: "불러오는 중…", nothing: "아직 아무 말도 없습니다. 첫마디를 건네 보세요.",
  typing: (names) => names.length <= 2 ? `${names.join(", ")} 님이 쓰는 중…` : `${names.length}명이 쓰는 중…`,
  here: (count) => `${count}명 있음`, now_here: "있음", not_here: "없음", away: "자리 비움", you: "나",
  sign_in: "들어오세요", sign_hint: "이 방문에 쓸 이름을 골라 주세요. 이 브라우저에서는 계속 내 이름입니다.", name: "이름", name_hint: "글자와 숫자, 32자까지", enter: "들어가기",
  have_account: "계정이 있어요", no_account: "손님으로 들어가기", password: "비밀번호", login_wait: (seconds) => `비밀번호를 여러 번 틀렸습니다. ${seconds}초 뒤에 다시 해 주세요.`, sign_out: "이 이름 버리기", guest: "손님", admin: "운영자",
  connecting: "연결하는 중…", offline: "연결이 끊겼습니다. 저절로 다시 연결됩니다…", offline_queue: (count) => `연결이 끊겼습니다. 메시지 ${count}개는 다시 연결되면 보냅니다.`,
  back_again: "다시 연결되었습니다", retry_now: "지금 시도", replaced: "연결이 끝났습니다. 로그아웃했거나 다른 곳에서 접속했습니다.",
  waiting: "보내려고 기다리는 중", failed: "보내지 못함", again: "다시 보내기", drop_it: "버리기", unsent: "전에 보내지 못한 메시지가 있습니다. 지금 보낼까요?",
  switcher: "바로 가기", switcher_hint: "방이나 사람", no_match: "그런 이름이 없습니다.", search_hint: "찾을 말", search_here: "이 방에서", search_all: "모든 방에서", found_none: "찾은 것이 없습니다.",
  language: "언어", theme: "밝기", theme_auto: "시스템대로", theme_light: "밝게", theme_dark: "어둡게", notify: "나를 부르면 알려 주기", notify_denied: "브라우저가 허락하지 않습니다.",
  message: "쪽지 쓰기", kick: "내보내기", ban: "들어오지 못하게 하기", mute: "말 못 하게 하기", unmute: "다시 말하게 하기", unban: "다시 들어오게 하기", make: (role) => `${role_ko[role]}${role === "owner" ? "으로" : "로"} 정하기`, for_minutes: "몇 분 동안 (비우면 계속)",
  role: (role) => role_ko[role], today: "오늘", yesterday: "어제", skip: "메시지로 건너뛰기", said: (name, text) => `${name}: ${text}`,
  mention_list: "부를 사람", command_list: "명령", unread: (count, mentions) => `안 읽음 ${count}${mentions ? `, 나를 부름 ${mentions}` : ""}`,
  keys: "단축키", emoji_other: "다른 이모지", image: (name) => `그림 ${name}`, file: (name, size) => `${name} (${size})`, in_room: (room) => `${room}에서`,
  unknown_command: (word) => `${word} 명령은 없습니다. /help로 볼 수 있습니다.`, too_large: (name, size) => `${name} 파일이 ${size}보다 큽니다.`,
  kicked_out: (room) => `이제 ${room} 방에 있지 않습니다.`, pick: "왼쪽에서 방을 고르거나 새로 만드세요.", joined_room: (room) => `${room} 방에 들어왔습니다.`,
  key_help: [["Ctrl K", "방이나 사람에게 가기"], ["Alt ↑ ↓", "앞 방, 다음 방"], ["↑", "빈 줄에서: 내 마지막 메시지 고치기"], ["Shift Enter", "줄 바꾸기"], ["Esc", "닫기, 맨 아래로"], ["R, E, Delete", "메시지에서: 답장, 고치기, 지우기"]],
  commands: {
    me: "/me 손을 흔든다: 하는 일", topic: "/topic 글: 주제 정하기", join: "/join 방", create: "/create 방: 만들기", msg: "/msg 이름 글: 쪽지", leave: "/leave 방 나가기", invite: "/invite 이름",
    kick: "/kick 이름 [까닭]", ban: "/ban 이름 [분] [까닭]", unban: "/unban 이름", mute: "/mute 이름 [분]", unmute: "/unmute 이름", role: "/role 이름 owner|moderator|member|none", away: "/away [글] 자리 비움", back: "/back 돌아옴",
    search: "/search 찾을 말", announce: "/announce 글: 모두에게", help: "/help 도움말",
  },
  errors: {
    offline: "연결이 없습니다.", timeout: "대답이 없습니다.", "name-taken": "이미 누가 쓰는 이름입니다.", "bad-name": "이름은 글자, 숫자, - _ . 로 1~32자이고 글자나 숫자로 시작합니다.", "users-only": "계정이 있는 사람만 들어올 수 있습니다.",
    "bad-login": "이름이나 비밀번호가 맞지 않습니다.", "no-accounts": "여기에는 계정이 없습니다. 손님으로 들어오세요.", "too-fast": "너무 빠릅니다. 잠깐 기다려 주세요.", "slow-mode": "느린 방입니다. 조금 뒤에 말할 수 있습니다.", muted: "지금은 이 방에서 말할 수 없습니다.", banned: "이 방에 들어올 수 없습니다.", private: "참여자만 들어오는 방입니다.",
    "invite-only": "초대를 받아야 들어오는 방입니다.", "not-allowed": "여기서는 할 수 없는 일입니다.", "no-such-room": "그런 방이 없습니다.", "no-such-user": "그런 이름을 가진 사람이 없습니다.", "too-long": "너무 깁니다.", full: "자리가 없습니다.",
    "room-taken": "같은 이름의 방이 있습니다.", "no-such-message": "그 메시지가 없습니다.", "not-yours": "다른 사람의 말입니다.", "bad-file": "이 파일은 받지 않습니다.", cancelled: "거두었습니다.",
  },
  notice(event) {
    const by = `${event.by.name} 님이`;
    switch (event.on) {
      case "created": return `${by} 이 방을 만들었습니다`;
      case "topic": return event.text ? `${by} 주제를 정했습니다: ${event.text}` : `${by} 주제를 지웠습니다`;
      case "settings": return `${by} 방을 바꾸었습니다: ${[event.private ? "비공개" : "공개", event.invite_only ? "초대받은 사람만" : "", event.slow_ms ? `${event.slow_ms / 1000}초에 한 번` : ""].filter(Boolean).join(", ")}`;
      case "role": return event.role === "none" ? `${by} ${event.who.name} 님의 역할을 거두었습니다` : `${by} ${event.who.name} 님을 ${role_ko[event.role]}${event.role === "owner" ? "으로" : "로"} 정했습니다`;
      case "invited": return `${by} ${event.who.name} 님을 초대했습니다`;
      case "kicked": return `${by} ${event.who.name} 님을 내보냈습니다${event.why ? `: ${event.why}` : ""}`;
      case "banned": return `${by} ${event.who.name} 님을 들어오지 못하게 했습니다${event.why ? `: ${event.why}` : ""}`;
      case "unbanned": return `${by} ${event.who.name} 님을 다시 들어오게 했습니다`;
      case "muted": return `${by} ${event.who.name} 님을 말하지 못하게 했습니다${event.why ? `: ${event.why}` : ""}`;
      case "unmuted": return `${by} ${event.who.name} 님을 다시 말하게 했습니다`;
      default: return "";
    }
  },
};

export const WORDS = { en, ko };
export type Language = keyof typeof WORDS;

/** The language of the browser, as far as we speak it. */
export function preferred(languages: readonly string[]): Language {
  for (const one of languages) {
    const short = one.slice(0, 2).toLowerCase();
    if (short === "ko" || short === "en") return short;
  }
  return "en";
}
