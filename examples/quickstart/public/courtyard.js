// The first page, alive: everything it shows was asked of its own server a moment ago.
// Loaded in the head so that the language is chosen before anything is drawn.
'use strict';

const root = document.documentElement;
const by = (id) => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');

// --- words -----------------------------------------------------------------------------------------------------------

const remembered = () => { try { return localStorage.getItem('madang-language'); } catch { return null; } };
root.lang = remembered() || ((navigator.languages || [navigator.language])[0] || '').startsWith('ko') && 'ko' || 'en';
/** The words of the language shown now. */
const t = (en, ko) => (root.lang === 'ko' ? ko : en);

const FIELDS = {
  'etag': ['The name of this very version. Who has it already is told 304 and nothing more.', '이 버전의 이름표. 이미 가진 브라우저에게는 304 한마디면 됩니다.'],
  'last-modified': ['When the file was last changed.', '파일이 마지막으로 바뀐 때.'],
  'accept-ranges': ['Parts may be asked for; broken downloads go on.', '일부만 달라고 할 수 있어, 끊긴 다운로드를 이어 받습니다.'],
  'content-type': ['What it is, and in which script it is written.', '내용의 종류와 글자 부호화.'],
  'content-encoding': ['Compressed on its way to you.', '오는 길에는 압축해 둡니다.'],
  'content-length': ['Bytes that travel.', '오가는 바이트 수.'],
  'vary': ['Caches keep one copy for each of these.', '캐시는 이 값마다 따로 보관합니다.'],
  'date': ['The clock of the server.', '서버의 시계.'],
  'x-request-id': ['This one request, to find again in the log.', '이 요청 하나의 번호. 기록에서 다시 찾을 때 씁니다.'],
  'x-content-type-options': ['Take the type as told; guess nothing.', '종류를 넘겨짚지 말라는 뜻.'],
  'x-frame-options': ['No other site may put this page in a frame.', '다른 사이트가 이 페이지를 액자에 넣지 못합니다.'],
  'content-security-policy': ['Only this server’s own script, style and pictures run here.', '이 서버의 스크립트와 스타일, 그림만 허락합니다.'],
  'referrer-policy': ['Other sites learn where you came from, not which page.', '다른 사이트에는 어느 페이지에서 왔는지까지 알리지 않습니다.'],
  'permissions-policy': ['No camera, no microphone, no location.', '카메라, 마이크, 위치를 쓰지 않습니다.'],
  'strict-transport-security': ['Come by https only from now on.', '앞으로는 https로만 오라는 뜻.'],
  'cache-control': ['How long a copy may be kept.', '사본을 얼마나 간직해도 되는지.'],
  'alt-svc': ['Other ways to the same server.', '같은 서버로 오는 다른 길.'],
  'server': ['Who answers.', '누가 답하는지.'],
};
const PROTOCOLS = { 'http/1.0': 'HTTP/1.0', 'http/1.1': 'HTTP/1.1', 'h2': 'HTTP/2', 'h2c': 'HTTP/2', 'h3': 'HTTP/3' };

const bytes = (n) => (n < 1024 ? `${n} B` : `${(n / 1024).toFixed(1)} KiB`);
const ms = (n) => `${n.toFixed(n < 10 ? 1 : 0)} ms`;

/** A new element with text and children: text is only ever put in as text. */
function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

// --- what is known of this page ---------------------------------------------------------------------------------------

let head = null; // the answer to HEAD /, as [name, value]

function showFacts() {
  const page = performance.getEntriesByType('navigation')[0];
  const protocol = page && PROTOCOLS[page.nextHopProtocol];
  const coding = head && (head.find(([name]) => name === 'content-encoding') || [])[1];
  const secure = location.protocol === 'https:';
  const rows = [
    [t('Protocol', '프로토콜'), protocol || t('the browser does not tell', '브라우저가 알려 주지 않습니다')],
    [t('Encryption', '암호화'), secure ? 'TLS' : t('none: plain http', '없음 (http)')],
  ];
  if (page && page.encodedBodySize) {
    const whole = bytes(page.decodedBodySize), sent = bytes(page.encodedBodySize);
    const small = page.encodedBodySize < page.decodedBodySize;
    rows.push([t('This page', '이 페이지'), small
      ? t(`${sent} sent for ${whole}`, `${whole}를 ${sent}로`) + (coding ? ` (${coding})` : '') : whole]);
  }
  if (page && page.responseStart > page.requestStart) {
    rows.push([t('First byte after', '첫 바이트까지'), ms(page.responseStart - page.requestStart)]);
  }
  by('facts').replaceChildren(...rows.map(([name, value]) => make('div', '', make('dt', name), make('dd', value))));
  by('door').textContent = `${location.protocol}//${location.host}` + (protocol ? ` · ${protocol}` : '');
  by('secure').hidden = secure;
}

function showFields() {
  if (!head) return;
  by('fields').replaceChildren(...head.map(([name, value]) => {
    const meaning = FIELDS[name];
    const cell = make('dd', '', make('code', value));
    if (meaning) cell.append(make('p', t(...meaning)));
    return make('div', '', make('dt', name), cell);
  }));
}

// --- requests -----------------------------------------------------------------------------------------------------------

/** Asks this server. Gives the answer, its text and the milliseconds until its last byte; never throws. */
async function ask(method, path, headers = {}) {
  const begin = performance.now();
  try {
    const answer = await fetch(path, { method, headers, cache: 'no-store' });
    const text = method === 'HEAD' ? '' : await answer.text();
    return { status: answer.status, text, answer, took: performance.now() - begin };
  } catch {
    return { status: 0, text: '', answer: null, took: performance.now() - begin };
  }
}

const ROOMS = {
  // The page again, but only if it is another one than this: the conditional request.
  async hall() {
    const tag = head && (head.find(([name]) => name === 'etag') || [])[1];
    const got = await ask('GET', '/', tag ? { 'if-none-match': tag } : {});
    const said = got.status === 304 ? t('unchanged: nothing had to be sent', '그대로라 보낼 것이 없었습니다') : bytes(got.text.length);
    return [['GET /', '/', got, said, ['hall']]];
  },
  async hello() {
    const got = await ask('GET', '/hello');
    return [['GET /hello', '/hello', got, `“${got.text.trim()}”`, ['hello']]];
  },
  // Eight at once at a door that lets five in each second.
  async api() {
    const all = await Promise.all(Array.from({ length: 8 }, () => ask('GET', '/api/')));
    return all.map((got) => {
      const wait = got.answer && got.answer.headers.get('retry-after');
      const said = got.status === 429 ? t(`too many; again in ${wait || 1} s`, `너무 많아요, ${wait || 1}초 뒤에`) : got.text;
      return ['GET /api/', '/api/', got, said, got.status === 429 ? [] : ['api']];
    });
  },
  // Fifteen bytes out of a file.
  async files() {
    const got = await ask('GET', '/files/readme.txt', { range: 'bytes=0-14' });
    const range = got.answer && got.answer.headers.get('content-range');
    return [['GET /files/readme.txt', '/files/', got, range ? `“${got.text}” (${range})` : bytes(got.text.length), ['files']]];
  },
  async old() {
    const got = await ask('GET', '/old/hello');
    const led = got.answer && got.answer.redirected;
    return [['GET /old/hello', '/old/hello', got, led ? t('led on to ', '옮겨 간 곳: ') + new URL(got.answer.url).pathname : '', led ? ['old', 'hello'] : ['old']]];
  },
};

// --- guests in the courtyard --------------------------------------------------------------------------------------------

const roomOf = (name) => document.querySelector(`[data-ask="${name}"]`);

function light(room) {
  room.classList.add('lit');
  setTimeout(() => room.classList.remove('lit'), calm.matches ? 900 : 180);
}

/** One request as a guest: from outside through the gate to its rooms; a refused one turns round at the gate. */
function walk(rooms, delay = 0) {
  if (calm.matches || !Element.prototype.animate) return rooms.forEach((name) => light(roomOf(name)));
  const house = by('house'), box = house.getBoundingClientRect();
  const middle = (element, up = 0.5) => {
    const at = element.getBoundingClientRect();
    return [at.left + at.width / 2 - box.left, at.top + at.height * up - box.top];
  };
  const stray = () => (Math.random() - 0.5) * 26;
  const [x, y] = middle(by('gate'), 1);
  const start = [x + stray(), box.height + 6], gate = [x + stray() / 2, y];
  const yard = middle(house, 0.52);
  // Just inside the door, which is on the side of the yard: the names of the rooms stay readable.
  const inside = (name) => {
    const at = roomOf(name).getBoundingClientRect();
    const within = (value, from, to) => Math.min(Math.max(value, from + 20), to - 20);
    return [within(yard[0], at.left - box.left, at.right - box.left), within(yard[1], at.top - box.top, at.bottom - box.top)];
  };
  const stops = rooms.length
    ? [start, gate, [yard[0] + stray(), yard[1] + stray()], ...rooms.map(inside)]
    : [start, gate, [x + stray(), y - 16], [x + stray() * 3, box.height + 14]];
  const guest = make('span');
  guest.className = rooms.length ? 'guest' : 'guest refused';
  house.append(guest);
  const frames = stops.map(([left, top]) => ({ transform: `translate(${left}px, ${top}px)`, opacity: 1, easing: 'ease-in-out' }));
  frames[0].opacity = 0;
  frames.push({ ...frames[frames.length - 1], opacity: 0 });
  const walking = guest.animate(frames, { duration: 260 * frames.length, delay, fill: 'backwards' });
  walking.onfinish = () => { guest.remove(); if (rooms.length) light(roomOf(rooms[rooms.length - 1])); };
}

const LOG_MAX = 8;
function note(what, href, got, said) {
  const link = make('a', what);
  link.href = href;
  const status = make('b', got.status ? String(got.status) : '—');
  if (got.status >= 400 || !got.status) status.className = 'bad';
  const words = got.status ? said : t('no answer: has the server stopped? `make run` starts it', '답이 없습니다. 서버가 멈췄나요? `make run`으로 켭니다');
  const line = make('li', '', make('code', '', link), status, make('span', words), make('time', ms(got.took)));
  by('log').prepend(line);
  while (by('log').children.length > LOG_MAX) by('log').lastChild.remove();
}

async function enter(name) {
  const visits = await ROOMS[name]();
  visits.forEach(([, , got, , rooms], n) => walk(got.status ? rooms : [], n * 110));
  if (visits.length === 1) return note(...visits[0]);
  // Many at once: a line for those let in, a line for those refused.
  for (const refused of [false, true]) {
    const group = visits.filter(([, , got]) => (got.status >= 400 || !got.status) === refused);
    if (group.length) note(`${group.length} × ${group[0][0]}`, ...group[0].slice(1));
  }
}

// --- twenty knocks --------------------------------------------------------------------------------------------------------

const KNOCKS = 20;
let knocks = [];

async function knock() {
  by('again').disabled = true;
  await ask('GET', '/hello'); // opens the connection, where it was not
  performance.clearResourceTimings();
  const taken = [];
  for (let n = 0; n < KNOCKS; n += 1) {
    const got = await ask('GET', '/hello');
    if (got.status !== 200) { note('GET /hello', '/hello', got, ''); break; }
    taken.push(got.took);
  }
  // The browser's own notes are nearer to the wire than a script's watch; they come a moment later.
  await new Promise((done) => setTimeout(done, 100));
  const noted = performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/hello') && one.requestStart > 0);
  by('again').disabled = false;
  if (taken.length < KNOCKS) return;
  knocks = noted.length === KNOCKS ? noted.map((one) => one.responseEnd - one.requestStart) : taken;
  showKnocks();
  note(`${KNOCKS} × GET /hello`, '/hello', { status: 200, took: median(knocks) }, t('in turn; their median', '차례로, 시간은 중앙값'));
  knocks.forEach((_, n) => walk(['hello'], n * 90));
}

const inOrder = (numbers) => [...numbers].sort((a, b) => a - b);
const median = (numbers) => { const all = inOrder(numbers); return (all[(all.length - 1) >> 1] + all[all.length >> 1]) / 2; };

function showKnocks() {
  if (!knocks.length) return;
  const sorted = inOrder(knocks), middle = median(knocks), most = sorted[KNOCKS - 1];
  // One straggler must not flatten the rest: what is beyond five medians is drawn with a break in it.
  const top = Math.min(most, 5 * middle);
  const high = (took) => (96 - 90 * took / top).toFixed(1);
  const bar = (took, n) => `M${10 + n * 20} 96V` + (took > top ? `20M${10 + n * 20} 12V0` : high(took));
  const [dashes, line, slow] = by('spark').children;
  dashes.setAttribute('d', `M0 ${high(middle)}H400`);
  line.setAttribute('d', knocks.map(bar).join(''));
  slow.setAttribute('d', bar(most, knocks.indexOf(most)));
  const rows = [[t('fastest', '가장 빠름'), sorted[0]], [t('median', '중앙값'), middle], [t('slowest', '가장 느림'), most]];
  by('figures').replaceChildren(...rows.map(([name, took]) => make('div', '', make('dt', name), make('dd', ms(took)))));
  by('spark').setAttribute('aria-label', t(`${KNOCKS} requests as bars: `, `요청 ${KNOCKS}번을 막대로: `) + rows.map(([name, took]) => `${name} ${ms(took)}`).join(', '));
}

// --- commands to copy -----------------------------------------------------------------------------------------------------

function copyable(pre) {
  const button = make('button', t('Copy', '복사'));
  const frame = make('div');
  button.type = 'button';
  button.className = 'copy';
  frame.className = 'command';
  pre.replaceWith(frame);
  frame.append(pre, button);
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = t('Copied', '복사했어요');
      setTimeout(() => { button.textContent = t('Copy', '복사'); }, 1500);
    } catch {
      getSelection().selectAllChildren(pre); // not allowed here: the text is marked instead
    }
  });
}

// --- all together ------------------------------------------------------------------------------------------------------------

function speak(language) {
  root.lang = language;
  document.querySelectorAll('[data-lang]').forEach((button) => button.setAttribute('aria-pressed', String(button.dataset.lang === language)));
  document.querySelectorAll('.copy').forEach((button) => { button.textContent = t('Copy', '복사'); });
  if (!by('house')) return;
  showFacts();
  showFields();
  showKnocks();
}

document.addEventListener('DOMContentLoaded', async () => {
  document.querySelectorAll('[data-lang]').forEach((button) => button.addEventListener('click', () => {
    try { localStorage.setItem('madang-language', button.dataset.lang); } catch { /* not remembered, then */ }
    speak(button.dataset.lang);
  }));
  document.querySelectorAll('pre').forEach(copyable);
  speak(root.lang);
  if (by('where')) by('where').textContent = location.pathname;
  if (!by('house')) return;
  document.querySelectorAll('[data-ask]').forEach((room) => room.addEventListener('click', (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return; // a new tab: let the link be one
    event.preventDefault();
    enter(room.dataset.ask);
  }));
  by('again').addEventListener('click', knock);
  const got = await ask('HEAD', '/');
  if (got.answer) head = [...got.answer.headers];
  note('HEAD /', '/', got, t(`${(head || []).length} fields`, `헤더 ${(head || []).length}줄`));
  speak(root.lang);
  setTimeout(knock, 600); // once the page is drawn: drawing would be measured too
});
