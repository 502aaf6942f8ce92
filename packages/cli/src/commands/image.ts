// `berth image`: import, ls, rm.
import type { Command } from 'commander';
import { newCommand } from './command.ts';
import { imageImportCommand } from './image-import.ts';
import { imageLsCommand } from './image-ls.ts';
import { imageRmCommand } from './image-rm.ts';

export const imageCommand = (): Command =>
  newCommand('image', 'Import, list and remove images', [
    'berth image import alpine.tar --name alpine:3.22',
    'docker save app | berth image import -',
    'berth image ls',
  ])
    .enablePositionalOptions()
    .addCommand(imageImportCommand())
    .addCommand(imageLsCommand())
    .addCommand(imageRmCommand());
