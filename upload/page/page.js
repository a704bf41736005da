// The upload page. Without this script it is a plain form and works; with it, files that are chosen or
// dropped go up at once, each in a request of its own, a few at a time, with a bar for each.
//
// Names and messages come from people and servers: they only ever become text, never markup.

const main = document.querySelector('main');
const { base } = main.dataset;
const largest = Number(main.dataset.largest);
const find = (id) => document.getElementById(id);
const [send, pick, queue, files, said] = ['send', 'pick', 'queue', 'files', 'said'].map(find);

const atOnce = 3; // more only take turns on the same line
const tries = 5; // by itself, where the server says when to come again
const span = 5000; // milliseconds over which the speed is measured

document.documentElement.classList.add('js');
pick.required = false;

const waiting = [];
let running = 0;

// say tells those who listen instead of look. The text changes even if the same is said twice.
const say = (text) => { said.textContent = said.textContent === text ? `${text}\u00a0` : text; };

// The spaces in sizes and durations are hard ones, so that no line ends between a number and its unit.
function size(bytes) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let n = bytes;
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i && n < 100 ? n.toFixed(1) : Math.round(n)}\u00a0${units[i]}`;
}

function duration(seconds) {
  const s = Math.ceil(seconds);
  if (s < 60) return `${s}\u00a0s`;
  const m = Math.round(s / 60);
  return m < 60 ? `${m}\u00a0min` : `${Math.floor(m / 60)}\u00a0h\u00a0${m % 60}\u00a0min`;
}

const when = (date) => date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

const clone = (id) => find(id).content.firstElementChild.cloneNode(true);

// Upload is one file on its way, and its line in the queue.
class Upload {
  constructor(file) {
    this.file = file;
    this.tried = 0;
    this.line = clone('upload');
    const [name, bar, state] = ['.name', 'progress', '.state'].map((q) => this.line.querySelector(q));
    Object.assign(this, { bar, state });
    name.textContent = file.name;
    bar.setAttribute('aria-label', file.name);
    this.retry = this.button('retry', () => { this.tried = 0; this.enqueue(); });
    this.cancel = this.button('cancel', () => this.drop());
    this.name(this.retry, 'Retry');
    queue.append(this.line);
  }

  button(kind, act) {
    const b = this.line.querySelector(`.${kind}`);
    b.addEventListener('click', act);
    return b;
  }

  name(button, text) {
    button.textContent = text;
    button.setAttribute('aria-label', `${text} ${this.file.name}`);
  }

  enqueue() {
    clearTimeout(this.timer);
    this.line.classList.remove('failed');
    this.retry.hidden = true;
    this.bar.hidden = false;
    this.bar.value = 0;
    this.name(this.cancel, 'Cancel');
    this.state.textContent = 'Waiting';
    if (largest && this.file.size > largest) {
      this.fail(`This file has ${size(this.file.size)}; ${size(largest)} are allowed.`);
      this.retry.hidden = true;
      return;
    }
    waiting.push(this);
    next();
  }

  start() {
    running++;
    this.marks = [[performance.now(), 0]];
    const form = new FormData();
    form.append('file', this.file);
    const xhr = this.xhr = new XMLHttpRequest();
    xhr.open('POST', base);
    xhr.setRequestHeader('Accept', 'application/json');
    xhr.upload.addEventListener('progress', (e) => this.moved(e.loaded, e.total));
    // Once the form is up, nothing is heard until the server has stored it and says so.
    xhr.upload.addEventListener('load', () => { this.state.textContent = 'Storing'; });
    xhr.addEventListener('load', () => this.answered());
    xhr.addEventListener('error', () => this.fail('The connection broke.'));
    xhr.addEventListener('loadend', () => { running--; this.xhr = null; next(); });
    xhr.send(form);
  }

  moved(sent, total) {
    const now = performance.now();
    this.marks.push([now, sent]);
    while (this.marks.length > 2 && now - this.marks[1][0] > span) this.marks.shift();
    const [then, before] = this.marks[0];
    const speed = (sent - before) / Math.max(now - then, 1) * 1000;
    this.bar.value = total ? sent / total : 0;
    const left = speed > 0 && now - then > 500 ? ` · ${duration((total - sent) / speed)} left` : '';
    this.state.textContent = `${size(sent)} of ${size(total)} · ${size(speed)}/s${left}`;
  }

  answered() {
    const { status } = this.xhr;
    let body = {};
    try { body = JSON.parse(this.xhr.responseText); } catch { /* not ours: the status has to do */ }
    const file = body.files?.[0];
    if (status === 201 && file?.id) {
      this.line.remove();
      list(file);
      say(`${file.name} is stored.`);
      return;
    }
    const again = Number(this.xhr.getResponseHeader('Retry-After'));
    const text = file?.message || body.message || `The server answered ${status}.`;
    if (status === 401) {
      this.fail('You are signed out: ', link(body.login), ' and retry.');
    } else if ([429, 503].includes(status) && again > 0 && ++this.tried < tries) {
      this.later(text, again);
    } else {
      this.fail(again > 0 ? `${text} Try again in ${duration(again)}.` : text);
    }
  }

  // later tries again by itself when the server said that it may.
  later(text, seconds) {
    this.bar.value = 0;
    this.state.textContent = `${text} Trying again in ${duration(seconds)}.`;
    this.timer = setTimeout(() => this.enqueue(), seconds * 1000);
  }

  fail(...parts) {
    this.line.classList.add('failed');
    this.state.replaceChildren(...parts);
    this.bar.hidden = true;
    this.retry.hidden = false;
    this.name(this.cancel, 'Remove');
    say(`${this.file.name}: ${this.state.textContent}`);
  }

  drop() {
    clearTimeout(this.timer);
    if (waiting.includes(this)) waiting.splice(waiting.indexOf(this), 1);
    this.xhr?.abort();
    this.line.remove();
    say(`${this.file.name} was taken off.`);
    pick.focus();
  }
}

// next starts what may start.
function next() {
  while (running < atOnce && waiting.length) waiting.shift().start();
}

// link leads to the sign-in, in a tab of its own: this one keeps the files that were chosen.
function link(address) {
  const a = document.createElement('a');
  a.textContent = 'sign in';
  a.target = '_blank';
  a.rel = 'noopener';
  const url = new URL(address || base, location.href);
  a.href = /^https?:$/.test(url.protocol) ? url.href : base;
  return a;
}

// list puts a stored file on top of the list.
function list(file) {
  const line = clone('file');
  const [a, bytes, time] = ['a', '.quiet span', 'time'].map((q) => line.querySelector(q));
  a.textContent = file.name;
  a.href = file.url;
  bytes.textContent = size(file.size);
  time.dateTime = file.created;
  time.textContent = when(new Date(file.created));
  line.querySelector('form').action = `${file.url}/delete`;
  line.querySelector('button').setAttribute('aria-label', `Delete ${file.name}`);
  files.prepend(line);
}

function take(chosen) {
  for (const file of chosen) new Upload(file).enqueue();
}

pick.addEventListener('change', () => { take(pick.files); pick.value = ''; });
send.addEventListener('submit', (e) => e.preventDefault());

// A file that is dropped beside the field would otherwise be opened in place of this page.
for (const kind of ['dragover', 'drop']) addEventListener(kind, (e) => e.preventDefault());
addEventListener('dragover', () => send.classList.add('over'));
for (const kind of ['dragleave', 'drop', 'dragend']) addEventListener(kind, () => send.classList.remove('over'));
addEventListener('drop', (e) => {
  const folders = [...e.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  const names = new Set(folders.map(({ name }) => name));
  take([...e.dataTransfer.files].filter(({ name }) => !names.has(name)));
  for (const { name } of folders) {
    const line = new Upload(new File([], name));
    line.fail('This is a folder: drop the files in it instead.');
    line.retry.hidden = true;
  }
});

files.addEventListener('submit', async (e) => {
  e.preventDefault();
  const line = e.target.closest('li');
  const a = line.querySelector('a');
  if (!confirm(`Delete ${a.textContent}?`)) return;
  const res = await fetch(a.href, { method: 'DELETE', headers: { Accept: 'application/json' } }).catch(() => null);
  if (res?.ok || res?.status === 404) {
    line.remove();
    say(`${a.textContent} is deleted.`);
    pick.focus();
    return;
  }
  const body = await res?.json().catch(() => null);
  line.querySelector('.quiet').textContent = res?.status === 401 ? 'You are signed out.' : body?.message ?? 'The connection broke.';
  say(line.querySelector('.quiet').textContent);
});

addEventListener('beforeunload', (e) => { if (running || waiting.length) e.preventDefault(); });

for (const time of document.querySelectorAll('time')) {
  if (time.dateTime) time.textContent = when(new Date(time.dateTime));
}
