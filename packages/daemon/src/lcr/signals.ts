/** Which signal StopContainer sends first: CRI's enumeration, an image's STOPSIGNAL, or SIGTERM. */
import { constants } from 'node:os';
import { Signal } from '@berth/cri-api';
import { invalid } from './refuse.ts';

/** Real-time signals as programs see them: the C library keeps 32 and 33 for itself (signal(7)). */
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/** The number of a signal name with or without SIG, of `RTMIN+n`/`RTMAX-n`, or of a number; undefined when there is none. */
export const signalNumber = (text: string): number | undefined => {
  if (/^\d{1,2}$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= SIGRTMAX ? number : undefined;
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name.replace('MINPLUS', 'MIN+').replace('MAXMINUS', 'MAX-'));
  if (realTime) {
    const offset = Number(`${realTime[2] ?? '+'}${realTime[3] ?? '0'}`);
    const number = (realTime[1] === 'MIN' ? SIGRTMIN : SIGRTMAX) + offset;
    return number >= SIGRTMIN && number <= SIGRTMAX ? number : undefined;
  }
  const aliases: Readonly<Record<string, string>> = { CLD: 'CHLD', POLL: 'IO' };
  const known = Object.entries(constants.signals).find(([signal]) => signal === `SIG${aliases[name] ?? name}`);
  return known?.[1];
};

/** The container's own setting wins over the image's; without either it is SIGTERM. */
export const stopSignal = (requested: Signal, image: string): number => {
  if (requested !== Signal.RUNTIME_DEFAULT) {
    const number = signalNumber(Signal[requested] ?? '');
    if (number === undefined) throw invalid('stop_signal', `unknown signal ${requested}`);
    return number;
  }
  if (image === '') return constants.signals.SIGTERM;
  const number = signalNumber(image);
  if (number === undefined) throw invalid('image stop signal', `unknown signal "${image}"`);
  return number;
};
