'use strict';
const report = JSON.parse(document.getElementById('report').textContent);
const byId = (id) => document.getElementById(id);

/** An element with children; text is never read as HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function drawn(name, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
const seconds = (ms) => `${(ms / 1000).toFixed(3)} s`;
const number = (n) => n.toLocaleString('en');

// Shape, colour and layer of each kind of mark; what is first in the list is drawn last.
const KINDS = {
  invoke: ['disc', 'blue', 'operations', 'sent'],
  resent: ['ring', 'blue', 'operations', 'sent again'],
  applied: ['square', 'blue', 'operations', 'applied'],
  acked: ['disc', 'green', 'operations', 'acknowledged'],
  refused: ['cross', 'red', 'operations', 'refused'],
  not_now: ['cross', 'orange', 'operations', 'told to wait'],
  rebase: ['diamond', 'orange', 'operations', 'base too old'],
  handed_back: ['square', 'violet', 'operations', 'handed back'],
  outcome: ['ring', 'grey', 'log', 'no event came of it'],
  opened: ['up', 'green', 'sessions', 'opened'],
  closed: ['down', 'grey', 'sessions', 'closed'],
  resynced: ['up', 'orange', 'sessions', 'begun anew'],
  role_told: ['diamond', 'violet', 'sessions', 'role told'],
  hello: ['ring', 'grey', 'sessions', 'asks to come in'],
  granted: ['diamond', 'violet', 'sessions', 'granted'],
  settled: ['ring', 'green', 'sessions', 'settled'],
  suspects: ['ring', 'red', 'raft', 'suspects a leader'],
  takes_over: ['flag', 'red', 'raft', 'takes over'],
  recovered: ['ring', 'green', 'raft', 'log read'],
  leads: ['flag', 'orange', 'raft', 'leads'],
  voted: ['diamond', 'grey', 'raft', 'votes'],
  truncated: ['cross', 'violet', 'raft', 'log cut'],
  started: ['up', 'green', 'raft', 'starts'],
  not_started: ['cross', 'red', 'raft', 'refuses to start'],
  disk: ['square', 'orange', 'raft', 'disk replaced'],
  error_line: ['cross', 'red', 'raft', 'error line'],
  expected_error: ['cross', 'grey', 'raft', 'expected error line'],
  panic: ['cross', 'red', 'raft', 'panic'],
  document: ['ring', 'grey', 'raft', 'document at the end'],
  healing: ['tick', 'green', 'raft', 'faults off'],
  healed: ['tick', 'green', 'raft', 'healed'],
  appended: ['tick', 'grey', 'log', 'appended'],
  synced: ['tick', 'green', 'log', 'synced'],
  committed: ['tick', 'blue', 'log', 'committed'],
  state: ['tick', 'violet', 'log', 'state hashed'],
  received: ['dot', 'grey', 'feed', 'event received'],
  view: ['dot', 'green', 'feed', 'view'],
  marked: ['dot', 'violet', 'feed', 'chain told'],
};
const LAYERS = { operations: true, sessions: true, raft: true, log: false, feed: false };
const LABELS = 168;
const view = { from: 0, to: 1, story: null, chosen: null, allGroups: false };

function shape(kind, x, y) {
  const [form, colour] = KINDS[kind] || ['disc', 'grey'];
  const fill = `var(--${colour})`;
  const path = (d) => drawn('path', { d, fill, stroke: fill });
  switch (form) {
    case 'disc': return drawn('circle', { cx: x, cy: y, r: 4.2, fill });
    case 'dot': return drawn('circle', { cx: x, cy: y, r: 2, fill });
    case 'ring': return drawn('circle', { cx: x, cy: y, r: 3.6, fill: 'none', stroke: fill, 'stroke-width': 2 });
    case 'square': return drawn('rect', { x: x - 3.6, y: y - 3.6, width: 7.2, height: 7.2, rx: 1, fill });
    case 'tick': return drawn('rect', { x: x - 0.7, y: y - 4, width: 1.4, height: 8, fill });
    case 'diamond': return path(`M${x} ${y - 4.5}L${x + 4.5} ${y}L${x} ${y + 4.5}L${x - 4.5} ${y}Z`);
    case 'up': return path(`M${x} ${y - 4.5}L${x + 4.2} ${y + 3.5}H${x - 4.2}Z`);
    case 'down': return path(`M${x} ${y + 4.5}L${x + 4.2} ${y - 3.5}H${x - 4.2}Z`);
    case 'flag': return path(`M${x} ${y + 6}V${y - 6}L${x + 8} ${y - 3}L${x} ${y}`);
    default: return drawn('path', { d: `M${x - 4} ${y - 4}L${x + 4} ${y + 4}M${x - 4} ${y + 4}L${x + 4} ${y - 4}`, stroke: fill, 'stroke-width': 2.2 });
  }
}

const hue = (term) => `hsl(${(term * 67 + 200) % 360} var(--lead-s) var(--lead-l))`;

/** Where lanes and faults lie; computed once a story. */
function prepare(story) {
  const groups = [...new Set(story.spans.filter((s) => s.kind === 'leads').map((s) => s.group))].sort((a, b) => a - b);
  const shown = story.focus.groups.length && !view.allGroups ? story.focus.groups : groups;
  const faults = story.spans.filter((span) => span.kind === 'fault');
  const rows = [];
  for (const fault of faults) {
    let row = rows.findIndex((end) => end <= fault.from_ms);
    if (row < 0) row = rows.length;
    rows[row] = fault.to_ms + 400;
    fault.row = row;
  }
  let y = 26 + rows.length * 17 + (rows.length ? 8 : 0);
  const lanes = story.lanes.map((lane) => {
    const height = lane.kind === 'node' ? 38 + shown.length * 6 : lane.kind === 'client' ? 32 : 24;
    const place = { ...lane, top: y, height, middle: y + (lane.kind === 'router' ? 12 : 16) };
    y += height;
    return place;
  });
  const operations = new Map();
  story.marks.forEach((mark, i) => {
    mark.i = i;
    if (!mark.operation) return;
    if (!operations.has(mark.operation)) operations.set(mark.operation, []);
    operations.get(mark.operation).push(mark);
  });
  story.drawing = { lanes, shown, groups, faults, operations, height: y + 6 };
}

function height(mark, lane) {
  const layer = (KINDS[mark.kind] || [])[2];
  if (lane.kind === 'node') {
    if (mark.kind === 'voted' || mark.kind === 'leads') return lane.top + 9;
    if (layer === 'log') return lane.top + 30;
    return lane.top + 20;
  }
  return layer === 'feed' ? lane.top + 27 : lane.middle - (layer === 'sessions' ? 6 : 0);
}

function draw() {
  const { story, from, to, chosen } = view;
  const { lanes, shown, faults, operations, height: tall } = story.drawing;
  const chart = byId('chart');
  const wide = Math.max(chart.clientWidth, 500);
  const x = (ms) => LABELS + ((ms - from) / (to - from)) * (wide - LABELS - 14);
  const clipped = (ms) => Math.min(Math.max(x(ms), LABELS), wide);
  const svg = drawn('svg', { width: wide, height: tall });
  const add = (...all) => svg.append(...all);

  const step = nice((to - from) / Math.max(4, (wide - LABELS) / 130));
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    add(drawn('line', { x1: x(t), x2: x(t), y1: 20, y2: tall, stroke: 'var(--line)' }));
    const digits = step < 1 ? 4 : step < 10 ? 3 : step < 100 ? 2 : 1;
    add(drawn('text', { x: x(t), y: 14, class: 'soft', 'text-anchor': 'middle' }, `${(t / 1000).toFixed(digits)} s`));
  }
  for (const fault of faults) {
    if (fault.to_ms < from || fault.from_ms > to) continue;
    const [left, right] = [clipped(fault.from_ms), clipped(fault.to_ms)];
    const top = 24 + fault.row * 17;
    for (const at of fault.lanes) {
      const { top: laneTop, height: laneHeight } = lanes[at];
      add(drawn('rect', { x: left, y: laneTop, width: Math.max(right - left, 2), height: laneHeight, fill: 'var(--band)' }));
    }
    const bar = drawn('rect', { x: left, y: top, width: Math.max(right - left, 3), height: 14, rx: 3, fill: 'var(--red)', opacity: 0.75 });
    bar.append(drawn('title', {}, `${fault.text}\n${seconds(fault.from_ms)} to ${seconds(fault.to_ms)}`));
    // In the bar where it fits, else behind it, up to the next bar of the row.
    const inside = right - left > fault.text.length * 6.3;
    const next = faults.filter((other) => other.row === fault.row && other.from_ms > fault.from_ms)
      .reduce((least, other) => Math.min(least, x(other.from_ms)), wide);
    const letters = Math.max(0, Math.floor((next - right - 12) / 6));
    const cut = fault.text.length > letters ? `${fault.text.slice(0, Math.max(letters - 1, 0))}…` : fault.text;
    const text = inside
      ? drawn('text', { x: left + 5, y: top + 11, style: 'fill: var(--panel)' }, fault.text)
      : drawn('text', { x: right + 4, y: top + 11, class: 'soft' }, letters > 3 ? cut : '');
    add(bar, text);
  }
  lanes.forEach((lane) => {
    add(drawn('line', { x1: 0, x2: wide, y1: lane.top, y2: lane.top, stroke: 'var(--line)' }));
    add(drawn('line', { x1: LABELS, x2: wide, y1: lane.middle + (lane.kind === 'node' ? 4 : 0), y2: lane.middle + (lane.kind === 'node' ? 4 : 0), stroke: 'var(--line)', 'stroke-dasharray': '1 4' }));
  });
  for (const span of story.spans) {
    const row = shown.indexOf(span.group);
    if (span.kind !== 'leads' || row < 0 || span.to_ms < from || span.from_ms > to) continue;
    for (const at of span.lanes) {
      const left = clipped(span.from_ms);
      const bar = drawn('rect', {
        x: left, y: lanes[at].top + 36 + row * 6, height: 5, rx: 1.5,
        width: Math.max(clipped(span.to_ms) - left, 2), fill: hue(span.term),
      });
      bar.append(drawn('title', {}, `${span.text}\n${seconds(span.from_ms)} to ${seconds(span.to_ms)}`));
      add(bar);
    }
  }

  const inView = (mark) => mark.at_ms >= from && mark.at_ms <= to;
  const place = (mark) => ({ x: x(mark.at_ms), y: height(mark, lanes[mark.lane]) });
  const arrow = (a, b, colour, strong) => {
    if (a.lane === null || b.lane === null) return;
    const [s, e] = [place(a), place(b)];
    const line = drawn('path', {
      d: `M${s.x} ${s.y}L${e.x} ${e.y}`, stroke: `var(--${colour})`, fill: 'none',
      'stroke-width': strong ? 2 : 1, opacity: strong ? 1 : 0.35,
    });
    add(line);
    if (!strong) return;
    const angle = (Math.atan2(e.y - s.y, e.x - s.x) * 180) / Math.PI;
    add(drawn('path', { d: 'M-5 0L-12 -4V4Z', fill: `var(--${colour})`, transform: `translate(${e.x} ${e.y}) rotate(${angle})` }));
  };
  const MOST_ARROWS = 1200;
  let arrows = 0;
  const life = (marks, strong) => {
    const applied = marks.filter((m) => m.kind === 'applied');
    const first = applied[0];
    const last = (limit) => marks.filter((m) => (m.kind === 'invoke' || m.kind === 'resent') && m.at_ms <= limit).pop();
    const sent = first ? last(first.at_ms) : undefined;
    const acks = marks.filter((m) => m.kind === 'acked');
    if (strong) {
      for (const mark of applied.slice(1)) arrow(sent || first, mark, 'grey', false);
      if (first) for (const mark of marks.filter((m) => m.kind === 'received')) arrow(first, mark, 'grey', false);
    }
    if (sent) arrow(sent, first, 'blue', strong);
    const source = first || last(Infinity);
    if (source) for (const ack of acks.slice(0, strong ? 9 : 1)) arrow(source, ack, 'green', strong);
  };
  if (LAYERS.operations) {
    for (const [name, marks] of operations) {
      if (name === chosen || arrows > MOST_ARROWS || !marks.some(inView)) continue;
      arrows += 2;
      life(marks, false);
    }
  }
  if (chosen && operations.has(chosen)) life(operations.get(chosen), true);

  const MOST_MARKS = 6000;
  const many = story.marks.filter((mark) => inView(mark) && mark.lane !== null && visible(mark));
  const some = many.length > MOST_MARKS ? many.filter((mark) => !['log', 'feed'].includes(KINDS[mark.kind]?.[2])) : many;
  for (const mark of some.slice(0, MOST_MARKS)) {
    const at = place(mark);
    const made = shape(mark.kind, at.x, at.y);
    made.setAttribute('class', 'hit');
    made.dataset.i = mark.i;
    if (mark.operation && mark.operation === chosen) {
      add(drawn('circle', { cx: at.x, cy: at.y, r: 8, fill: 'none', stroke: 'var(--ink)', 'stroke-width': 1.2 }));
    }
    made.append(drawn('title', {}, `${seconds(mark.at_ms)}  ${mark.kind}\n${mark.text}`));
    add(made);
  }
  const across = story.marks.filter((mark) => ['healing', 'healed'].includes(mark.kind) && inView(mark));
  for (const mark of across) {
    add(drawn('line', { x1: x(mark.at_ms), x2: x(mark.at_ms), y1: 20, y2: tall, stroke: 'var(--green)', 'stroke-dasharray': '5 4' }));
    const text = mark.kind === 'healing' ? 'faults off' : mark.text === 'missing []' ? 'healed' : mark.text.slice(0, 60);
    const side = x(mark.at_ms) > wide - 160 ? { x: x(mark.at_ms) - 4, 'text-anchor': 'end' } : { x: x(mark.at_ms) + 4 };
    add(drawn('text', { ...side, y: 34, class: 'soft' }, text));
  }
  const broken = [...report.verdict.violations].sort((a, b) => a.at_ms - b.at_ms);
  for (const violation of broken.reverse()) {
    const at = Math.min(violation.at_ms, story.end_ms);
    if (at < from || at > to) continue;
    add(drawn('line', { x1: x(at), x2: x(at), y1: 18, y2: tall, stroke: 'var(--red)', 'stroke-width': 2 }));
    // The first names the failure; what follows may follow from it.
    if (violation !== broken[broken.length - 1]) {
      svg.lastChild.setAttribute('opacity', 0.3);
      continue;
    }
    const side = x(at) > wide - 160 ? { x: x(at) - 5, 'text-anchor': 'end' } : { x: x(at) + 5 };
    add(drawn('text', { ...side, y: tall - 4, style: 'fill: var(--red); font-weight: 600' }, violation.oracle));
  }
  // Names lie over all that is left of the window.
  add(drawn('rect', { x: 0, y: 0, width: LABELS, height: tall, fill: 'var(--panel)' }));
  if (faults.length) add(drawn('text', { x: 10, y: 36, class: 'soft' }, 'faults'));
  for (const lane of lanes) {
    add(drawn('line', { x1: 0, x2: LABELS, y1: lane.top, y2: lane.top, stroke: 'var(--line)' }));
    add(drawn('text', { x: 10, y: lane.middle + 4 }, lane.name));
    if (lane.kind === 'node' && shown.length) {
      const groups = shown.length > 3 ? `groups ${shown[0]}…${shown[shown.length - 1]}` : `group ${shown.join(', ')}`;
      add(drawn('text', { x: LABELS - 8, y: lane.top + lane.height - 6, class: 'soft', 'text-anchor': 'end' }, groups));
    }
  }
  chart.replaceChildren(svg);
  const hidden = many.length - some.length;
  byId('window').textContent = `${seconds(from)} to ${seconds(to)}` + (hidden ? `, ${hidden} small marks hidden: zoom in` : '');
  byId('where').value = Math.round(1000 * place01(from, to, story.end_ms));
  byId('width').value = Math.round(1000 * Math.log(story.end_ms / (to - from)) / Math.log(story.end_ms / 2));
}
const place01 = (from, to, end) => (to - from >= end ? 0.5 : from / (end - (to - from)));

function nice(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
}

const chosenMark = (mark) => mark.operation && mark.operation === view.chosen;
function visible(mark) {
  const layer = (KINDS[mark.kind] || [])[2] || 'raft';
  const { shown, groups } = view.story.drawing;
  if (mark.group !== undefined && groups.includes(mark.group) && !shown.includes(mark.group)) return false;
  return LAYERS[layer] || chosenMark(mark);
}

function show(from, to) {
  const end = Math.max(view.story.end_ms, 1);
  const width = Math.min(Math.max(to - from, 2), end);
  view.from = Math.min(Math.max(from, 0), end - width);
  view.to = view.from + width;
  draw();
}

const VIEWS = {
  focus: () => show(view.story.focus.from_ms, view.story.focus.to_ms),
  all: () => show(0, view.story.end_ms),
  operation: () => {
    const marks = view.story.drawing.operations.get(view.chosen);
    if (!marks) return VIEWS.focus();
    const [first, last] = [marks[0].at_ms, marks[marks.length - 1].at_ms];
    const margin = Math.max(20, (last - first) * 0.15);
    return show(first - margin, last + margin);
  },
};
