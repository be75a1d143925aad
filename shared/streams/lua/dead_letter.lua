-- Gives an entry up: acknowledges it, then keeps it with the reason.
--
-- KEYS  1 stream   2 dead letters of the group
-- ARGV  1 group   2 entry id   3 reason   4 attempts
-- Reply 1 given up, 2 the entry itself was deleted before, 0 no longer pending
--
-- This order: when Redis is full it refuses a script whose first write needs memory, and
-- lets one go on that has begun by freeing some.
--
-- Lua unpacks at most some 8,000 values: of an entry with more fields the letter has the
-- first, and the stream all of them.
local MOST = 7000
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
local fields = entry and entry[2] or {}
local reason = entry and ARGV[3] or 'deleted while pending'
if #fields > MOST then
  reason = reason .. '; only the first ' .. MOST / 2 .. ' of ' .. #fields / 2 .. ' fields kept'
end
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*',
  'dead-stream', KEYS[1], 'dead-group', ARGV[1], 'dead-entry', ARGV[2],
  'dead-reason', reason, 'dead-attempts', ARGV[4],
  unpack(fields, 1, math.min(#fields, MOST)))
return entry and 1 or 2
