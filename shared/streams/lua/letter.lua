#!lua flags=allow-oom
-- Stands before scripts that give entries up, so that every dead letter is written alike:
-- what happened to the entry, then its own fields (none where it was deleted). They run
-- even when Redis is full: what is given up can be trimmed.
--
-- Lua unpacks at most some 8,000 values: of an entry with more fields the letter has the
-- first, and the stream all of them.
local MOST = 7000

local function write_letter(stream, letters, group, id, reason, attempts)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  local fields = entry and entry[2] or {}
  if #fields > MOST then
    reason = reason .. '; only the first ' .. MOST / 2 .. ' of ' .. #fields / 2 .. ' fields kept'
  end
  redis.call('XADD', letters, '*',
    'dead-stream', stream, 'dead-group', group, 'dead-entry', id,
    'dead-reason', reason, 'dead-attempts', attempts,
    unpack(fields, 1, math.min(#fields, MOST)))
end

