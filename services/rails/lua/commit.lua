-- Commits what a worker folded: totals, candidates, dead letters (letter.lua), now and then
-- the cells, and the offset become true at once. So do rebuilt totals in the place of the
-- old ones.
--
-- KEYS  1 stream   2 offset   3 totals   4 tops   5 changed   6 dead letters   7 snapshot
--       8 rebuilt totals
-- ARGV  1 group   2 epoch of the worker   3 offset it started from   4 its new offset
--       5 entries read in all   6 when it ranked, in ms
--       7 JSON {"articles": [...], "views": [what comes to the total of each]}
--       8 the cells at the new offset, '' to keep those of before
--       9 '' or JSON of a rebuild up to the new offset {"id": which one it is,
--         "articles": how many have a total, "letters": [those that it could read]}
--       10 number of entries it could not read, for each: entry id, reason
--       ... list, its candidates ('' for none), in turn
-- Reply {'done'}, also when this commit was made before and its answer was lost
--       {'refused', stored offset, stored epoch}: a newer worker owns the partition
local CHUNK = 3500  -- pairs: an unpack takes 7,000 values

local state = redis.call('HMGET', KEYS[2], 'offset', 'epoch', 'rebuilt')
local offset, epoch = state[1] or '0-0', state[2] or ''
local rebuilt = ARGV[9] ~= '' and cjson.decode(ARGV[9])
if epoch ~= ARGV[2] then return {'refused', offset, epoch} end
if offset == ARGV[4] and ARGV[3] ~= ARGV[4] then return {'done'} end
if rebuilt and rebuilt.id == state[3] then return {'done'} end
if offset ~= ARGV[3] then return {'refused', offset, epoch} end
if rebuilt and redis.call('HLEN', KEYS[8]) ~= rebuilt.articles then
  return redis.error_reply('ERR the rebuilt totals are not whole')
end
local totals = cjson.decode(ARGV[7])

-- First, for it fails where the group is gone.
redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[4], 'ENTRIESREAD', ARGV[5])
redis.call('HSET', KEYS[2], 'offset', ARGV[4], 'entries', ARGV[5], 'ranked', ARGV[6])

if rebuilt then
  -- Not by the renaming itself, which frees it while all wait.
  redis.call('UNLINK', KEYS[3])
  if rebuilt.articles > 0 then redis.call('RENAME', KEYS[8], KEYS[3]) end
  redis.call('HSET', KEYS[2], 'rebuilt', rebuilt.id)
  for _, letter in ipairs(rebuilt.letters) do redis.call('XDEL', KEYS[6], letter) end
end

for first = 1, #totals.articles, CHUNK do
  local last = math.min(first + CHUNK - 1, #totals.articles)
  local known = redis.call('HMGET', KEYS[3], unpack(totals.articles, first, last))
  local pairs = {}
  for i = first, last do
    pairs[#pairs + 1] = totals.articles[i]
    pairs[#pairs + 1] = string.format('%.0f', (known[i - first + 1] or 0) + totals.views[i])
  end
  redis.call('HSET', KEYS[3], unpack(pairs))
end

if ARGV[8] ~= '' then
  redis.call('SET', KEYS[7], ARGV[8])
  redis.call('HSET', KEYS[2], 'snapshot', ARGV[4])
end

local lists = 11 + 2 * tonumber(ARGV[10])
for i = 11, lists - 1, 2 do
  write_letter(KEYS[1], KEYS[6], ARGV[1], ARGV[i], ARGV[i + 1], 1)
end

if #ARGV >= lists then
  local number = redis.call('HINCRBY', KEYS[2], 'commits', 1)
  for i = lists, #ARGV, 2 do
    if ARGV[i + 1] == '' then
      redis.call('HDEL', KEYS[4], ARGV[i])
    else
      redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
    end
    redis.call('ZADD', KEYS[5], number, ARGV[i])
  end
end
return {'done'}
