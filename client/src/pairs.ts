// Characters that are two units of UTF-16. Half of one cannot be sent.

/** Puts U+FFFD for each half of a surrogate pair. */
export function wellFormed(text: string): string {
  return text.replace(LONE_SURROGATE, "\uFFFD");
}

/** Whether a place in a text lies within a pair. */
export function isWithinPair(text: string, at: number): boolean {
  return isHighSurrogate(text, at - 1) && isLowSurrogate(text, at);
}

export function isHighSurrogate(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xd800;
}

export function isLowSurrogate(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xdc00;
}

const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;
