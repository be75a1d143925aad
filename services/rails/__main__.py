"""python -m services.rails"""

from services.rails.app import main
from services.rails.settings import RailsSettings
from shared import logs, process, settings

chosen = settings.read(RailsSettings)
logs.setup("rails", chosen.log_level)
process.run(main(chosen))
